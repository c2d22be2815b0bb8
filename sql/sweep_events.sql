-- sweep_events: forgets a batch of events past their retention that nothing points at any more.
-- Returns the number deleted and the number looked at, and where to go on.
-- $1 bigint: look at events above this seq; $2 bigint: retention in microseconds; $3 bigint: most to look at
-- Serves itself from events_pkey, queue_pkey and work_pkey.
WITH old AS MATERIALIZED (
    SELECT seq FROM outbox.events
    WHERE seq > $1 AND created_at < statement_timestamp() - $2 * interval '1 microsecond'
    ORDER BY seq LIMIT $3
), gone AS (
    DELETE FROM outbox.events e USING old
    WHERE e.seq = old.seq
      AND NOT EXISTS (SELECT FROM outbox.work w WHERE w.event_seq = old.seq)
      AND NOT EXISTS (SELECT FROM outbox.queue q WHERE q.seq = old.seq)
    RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS deleted, count(*) AS seen, coalesce(max(seq), $1) AS last_seq FROM old
