-- instance_beat: a sign of life. Returns how many daemons are alive; nothing when this one was
-- declared dead by another.
-- $1 int: own id
WITH beat AS (
    UPDATE outbox.instances SET seen_at = clock_timestamp() WHERE id = $1 AND dead_at IS NULL RETURNING id
)
SELECT (SELECT count(*) FROM outbox.instances
        WHERE dead_at IS NULL AND seen_at > clock_timestamp() - interval '60 seconds') AS alive
FROM beat
