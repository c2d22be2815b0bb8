-- instance_leave: the end of a daemon that stopped in order. When that was is remembered: a backup that is restored
-- later is known by it.
-- $1 int: own id
WITH remembered AS (
    UPDATE outbox.home SET seen_at = clock_timestamp()
)
DELETE FROM outbox.instances WHERE id = $1
