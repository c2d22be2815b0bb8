-- instance_rejoin: takes the lock again after a lost connection, unless a peer was faster and has
-- released the leases. A session of ours that the server still believes in, because nobody told it of
-- the end, is ended first. Returns whether the lock is held, and by which session.
-- $1 int: own id; $2 int: process id of the session that held the lock before
WITH former AS MATERIALIZED (
    SELECT pg_terminate_backend(pid, 2000) AS ended FROM pg_locks
    WHERE locktype = 'advisory' AND pid = $2 AND objsubid = 2
      AND classid = hashtext('outboxd')::oid AND objid = $1::oid
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT CASE WHEN (SELECT count(ended) FROM former) < 0 THEN false
            WHEN EXISTS (SELECT FROM outbox.instances WHERE id = $1 AND dead_at IS NULL)
            THEN pg_try_advisory_lock(hashtext('outboxd'), $1) ELSE false END AS held,
       pg_backend_pid() AS backend
