-- fan_out_take: takes a batch of events off the queue, and reads the revision of the endpoints in
-- the same snapshot. Always at least one row; the event columns are null when nothing waits.
-- $1 bigint: most events; $2 int: largest payload in bytes to bring along
-- $3 bigint: take none below this seq: past what is gone, or past a backlog
-- $4 boolean: whether to look for the newest that waits, for which dead entries may have to be passed
-- Serves itself from queue_pkey and events_pkey.
WITH taken AS (
    DELETE FROM outbox.queue q
    -- A row of the queue never changes its place.
    WHERE q.ctid = ANY (ARRAY(
        SELECT ctid FROM outbox.queue WHERE seq >= $3 ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING q.seq
)
SELECT r.revision, CASE WHEN $4 THEN (SELECT max(seq) FROM outbox.queue WHERE seq >= $3) END AS newest, e.seq, e.id, e.type, e.tenant, e.live, e.target,
       (extract(epoch FROM e.created_at) * 1000000)::bigint AS created_us,
       (extract(epoch FROM e.deliver_after - statement_timestamp()) * 1000000)::bigint AS wait_us,
       -- The stored size first: a large payload is not read only to be measured.
       CASE WHEN pg_column_size(e.payload) <= $2 AND octet_length(e.payload::text) <= $2
            THEN e.payload::text END AS payload, e.key,
       -- Times further ahead do not fit.
       (extract(epoch FROM least(greatest(e.created_at, e.inserted_at, e.deliver_after), timestamptz '9999-01-01 00:00:00Z'))
        * 1000000)::bigint AS wanted_us
FROM outbox.endpoint_revision r
LEFT JOIN (taken t JOIN LATERAL (SELECT * FROM outbox.events WHERE seq = t.seq LIMIT 1) e ON true) ON true
