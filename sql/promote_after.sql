-- promote_after: the keys and endpoints of deliveries that have ended; for promote, which comes after it.
-- $1 bigint[]: event_seq; $2 int[]: endpoint
-- Serves itself from events_pkey and work_order, as promote_keys does.
WITH pair AS (
    SELECT w.key, w.endpoint, w.behind, w.event_seq
    FROM (
        SELECT DISTINCT e.key, n.endpoint
        FROM unnest($1::bigint[], $2::int[]) AS n (event_seq, endpoint)
        JOIN outbox.events e ON e.seq = n.event_seq
        WHERE e.key IS NOT NULL
    ) d
    CROSS JOIN LATERAL (
        SELECT key, endpoint, behind, event_seq FROM outbox.work
        WHERE key IS NOT NULL AND (key, endpoint) >= (d.key, d.endpoint)
        ORDER BY key, endpoint, behind, event_seq LIMIT 1
    ) w
    WHERE w.key = d.key AND w.endpoint = d.endpoint
)
