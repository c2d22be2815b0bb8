-- fan_out_lock: the numbers that a batch would take off the queue, locked, and nothing of their events.
-- $1 bigint: most events; $2 bigint: none below this seq
-- Serves itself from queue_pkey.
SELECT seq FROM outbox.queue WHERE seq >= $2 ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED
