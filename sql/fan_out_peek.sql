-- fan_out_peek: whether an event waits, and the revision of the endpoints. What an idle daemon asks,
-- many times a second, so it runs without a transaction of settings around it.
-- Serves itself from queue_pkey.
SELECT r.revision, (SELECT seq FROM outbox.queue ORDER BY seq LIMIT 1) IS NOT NULL AS waiting
FROM outbox.endpoint_revision r
