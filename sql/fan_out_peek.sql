-- fan_out_peek: whether an event waits, and the revision of the endpoints. What an idle daemon asks,
-- many times a second, so it runs without a transaction of settings around it.
-- $1 bigint: look at none below this seq
-- Serves itself from queue_pkey.
SELECT r.revision, (SELECT seq FROM outbox.queue WHERE seq >= $1 ORDER BY seq LIMIT 1) IS NOT NULL AS waiting
FROM outbox.endpoint_revision r
