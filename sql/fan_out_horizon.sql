-- fan_out_horizon: what tells how far the queue is certainly empty. One snapshot: the oldest transaction that
-- may still write, the first that had not begun, the first event on the queue, the newest event.
-- $1 bigint: look at the queue from this seq
-- Serves itself from queue_pkey and events_pkey.
SELECT pg_snapshot_xmin(s.snapshot)::text::bigint AS oldest, pg_snapshot_xmax(s.snapshot)::text::bigint AS next,
       (SELECT seq FROM outbox.queue WHERE seq >= $1 ORDER BY seq LIMIT 1) AS first,
       (SELECT seq FROM outbox.events ORDER BY seq DESC LIMIT 1) AS newest
FROM pg_current_snapshot() AS s (snapshot)
