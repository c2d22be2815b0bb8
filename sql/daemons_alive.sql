-- daemons_alive: how many daemons gave a sign of life lately; they do every second.
-- Scans outbox.instances, which has a handful of rows.
SELECT count(*) AS alive
FROM outbox.instances
WHERE dead_at IS NULL AND seen_at > clock_timestamp() - interval '10 seconds'
