-- instance_register: a new holder of leases. The lock is taken before the row can be seen, or a peer
-- could find the row without its lock. Also returns which session holds it.
-- $1 text: host; $2 int: process id; $3 text: version; $4 boolean: hold the lock; $5 int: version of the schema
-- that it was made for
WITH born AS (
    INSERT INTO outbox.instances (host, pid, version, locked, made_for) VALUES ($1, $2, $3, $4, $5) RETURNING id
)
SELECT id, CASE WHEN $4 THEN pg_try_advisory_lock(hashtext('outboxd'), id) ELSE true END AS held,
       pg_backend_pid() AS backend
FROM born
