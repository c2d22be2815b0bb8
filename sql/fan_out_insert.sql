-- fan_out_insert: creates the deliveries of a batch; some leased to the caller at once as their
-- first attempt, the others due when they may be sent. Fails with 23505 when a replay was faster; the
-- batch is then repeated without leases and with ON CONFLICT DO NOTHING behind this text.
-- $1 bigint[]: event_seq; $2 int[]: endpoint; $3 boolean[]: leased; $4 bigint[]: wait in microseconds
-- $5 int: holder; $6 bigint: lease in microseconds; $7 boolean[]: ordered, then it is behind until promoted
-- Serves itself from events_pkey, for the key of what is ordered.
INSERT INTO outbox.work (event_seq, endpoint, due_at, attempt, holder, created_at, key, behind)
SELECT n.event_seq, n.endpoint,
       statement_timestamp() + (CASE WHEN n.leased THEN $6 ELSE n.wait_us END) * interval '1 microsecond',
       n.leased::int, CASE WHEN n.leased THEN $5 END, statement_timestamp(),
       CASE WHEN n.ordered THEN (SELECT e.key FROM outbox.events e WHERE e.seq = n.event_seq) END, n.ordered
FROM unnest($1::bigint[], $2::int[], $3::boolean[], $4::bigint[], $7::boolean[])
    AS n (event_seq, endpoint, leased, wait_us, ordered)
