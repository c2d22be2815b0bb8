-- sweep_events: looks at a batch of events in the order of their insertion, and forgets those past
-- their retention that nothing points at any more and that nobody has to decide about. Returns how
-- many were looked at, how many of them were past their retention, the last of those, and how many were deleted.
-- $1 bigint: look above this seq; $2 bigint: retention in microseconds; $3 bigint: most to look at
-- Serves itself from events_pkey, queue_pkey, work_pkey and quarantine_pkey.
WITH looked AS MATERIALIZED (
    SELECT seq, inserted_at < statement_timestamp() - $2 * interval '1 microsecond' AS old
    FROM outbox.events WHERE seq > $1 ORDER BY seq LIMIT $3
), gone AS (
    DELETE FROM outbox.events e USING looked l
    WHERE e.seq = l.seq AND l.old
      AND NOT EXISTS (SELECT FROM outbox.work w WHERE w.event_seq = l.seq)
      AND NOT EXISTS (SELECT FROM outbox.queue q WHERE q.seq = l.seq)
      AND NOT EXISTS (SELECT FROM outbox.quarantine k
                      WHERE k.event_seq = l.seq AND k.released_at IS NULL AND k.discarded_at IS NULL)
    RETURNING e.seq
), decided AS (
    DELETE FROM outbox.quarantine k USING gone g WHERE k.event_seq = g.seq
)
SELECT count(*) AS looked, count(*) FILTER (WHERE old) AS old, coalesce(max(seq) FILTER (WHERE old), $1) AS last_seq,
       (SELECT count(*) FROM gone) AS gone
FROM looked
