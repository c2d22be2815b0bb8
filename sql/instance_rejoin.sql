-- instance_rejoin: takes the lock again after a lost connection, unless a peer was faster and has
-- released the leases. Returns whether it holds.
-- $1 int: own id
SELECT CASE WHEN EXISTS (SELECT FROM outbox.instances WHERE id = $1 AND dead_at IS NULL)
            THEN pg_try_advisory_lock(hashtext('outboxd'), $1) ELSE false END AS held
