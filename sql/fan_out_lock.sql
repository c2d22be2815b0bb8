-- fan_out_lock: the numbers that a batch would take off the queue, locked, and nothing of their events;
-- and with each how many those are together with the ones that somebody else holds.
-- $1 bigint: most events; $2 bigint: none below this seq
-- Serves itself from queue_pkey.
SELECT seq, (SELECT count(*) FROM (SELECT FROM outbox.queue WHERE seq >= $2 ORDER BY seq LIMIT $1) AS near) AS waiting
FROM outbox.queue WHERE seq >= $2 ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED
