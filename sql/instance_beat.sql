-- instance_beat: a sign of life. Returns how many daemons are alive, and when it was, in microseconds
-- since the epoch; nothing when this one was declared dead by another.
-- $1 int: own id
WITH beat AS (
    UPDATE outbox.instances SET seen_at = clock_timestamp() WHERE id = $1 AND dead_at IS NULL RETURNING seen_at
)
SELECT (SELECT count(*) FROM outbox.instances
        WHERE dead_at IS NULL AND seen_at > clock_timestamp() - interval '60 seconds') AS alive,
       (extract(epoch FROM seen_at) * 1000000)::bigint AS at_us
FROM beat
