-- promote: where no delivery of a key is under way for an endpoint, lets go the first of those that are
-- behind. Comes after promote_keys, promote_after or promote_page, which say of which keys and endpoints.
-- Each of those comes before it with the first of its deliveries in the order of work_order (key, endpoint,
-- behind, event_seq). Returns the endpoints that have something due; how many pairs were looked at, and the
-- last of them; whether more is to be let go than at once.
-- Serves itself from queue_key, work_pkey and endpoints_pkey: a few probes per pair, however many are behind.
--
-- No lock is needed, for this runs in a snapshot of its own, taken after the caller's commit. An event b is
-- let go in a snapshot in which no event a that was committed before b was inserted is on the queue or in
-- work: fan-out takes a from the one to the other in one transaction, so any snapshot with b shows a in
-- either, until a has ended. If a is still there, whoever ends it (records it, or finds in fan-out that
-- nobody receives it) looks again after its own commit, and then sees b, whose row was there before the look
-- that refused it. So of the fan-out of b and the end of a, the one that commits last lets b go. What falls
-- between commit and look (a crash, a cancellation, a replay, another setting of the endpoint) is found by
-- promote_page, in rounds.
--
-- An event that joins its key late (replayed, released from quarantine, or of a transaction that overlapped)
-- waits for the one under way, and goes before the later ones.
, judged AS (
    SELECT p.key, p.endpoint, p.behind, p.event_seq, e.ordered IS TRUE AS ordered
    FROM pair p LEFT JOIN outbox.endpoints e ON e.endpoint = p.endpoint
), head AS (
    -- What is under way sorts before what is behind, so the first of a pair is the next to go, or shows that
    -- another one is under way.
    SELECT j.event_seq, j.endpoint, j.ordered
    FROM judged j
    LEFT JOIN LATERAL (
        SELECT key, seq FROM outbox.queue
        WHERE key IS NOT NULL AND (key, seq) >= (j.key, 0)
        ORDER BY key, seq LIMIT 1
    ) q ON true
    WHERE j.ordered AND j.behind AND (q.key = j.key AND q.seq < j.event_seq) IS NOT TRUE
    UNION ALL
    -- Where order is no longer asked for, nobody waits.
    (SELECT b.event_seq, j.endpoint, j.ordered
     FROM judged j
     CROSS JOIN LATERAL (
         SELECT key, endpoint, event_seq FROM outbox.work
         WHERE key IS NOT NULL AND (key, endpoint, behind) >= (j.key, j.endpoint, true)
         ORDER BY key, endpoint, behind, event_seq LIMIT 1000
     ) b
     WHERE NOT j.ordered AND b.key = j.key AND b.endpoint = j.endpoint
     LIMIT 20000)
), mine AS MATERIALIZED (
    -- Skipped is what another one is letting go at this moment: they never wait for each other.
    SELECT w.event_seq, w.endpoint, h.ordered
    FROM head h JOIN outbox.work w ON w.event_seq = h.event_seq AND w.endpoint = h.endpoint
    WHERE w.behind
    FOR UPDATE OF w SKIP LOCKED
), promoted AS (
    UPDATE outbox.work w
    SET behind = false, key = CASE WHEN m.ordered THEN w.key END, due_at = greatest(w.due_at, statement_timestamp())
    FROM mine m
    WHERE w.event_seq = m.event_seq AND w.endpoint = m.endpoint
    RETURNING w.endpoint
)
SELECT ARRAY(SELECT DISTINCT endpoint FROM promoted) AS endpoints, (SELECT count(*) FROM pair) AS looked,
       l.key, l.endpoint, (SELECT count(*) >= 1000 FROM mine WHERE NOT ordered) AS more
FROM (SELECT) AS one
LEFT JOIN (SELECT key, endpoint FROM pair ORDER BY key DESC, endpoint DESC LIMIT 1) l ON true
