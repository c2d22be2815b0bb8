-- event_read: one event, read apart from the others because a batch with it failed. Reads all that
-- fan-out and claims read of it; what of it cannot be read is its own error.
-- $1 bigint: seq; $2 int: largest payload in bytes to bring along, negative: leave it alone
-- Serves itself from events_pkey.
SELECT e.id, e.type, e.tenant, e.live, (extract(epoch FROM e.created_at) * 1000000)::bigint AS created_us,
       (extract(epoch FROM least(greatest(e.created_at, e.inserted_at, e.deliver_after), timestamptz '9999-01-01 00:00:00Z'))
        * 1000000)::bigint AS wanted_us,
       CASE WHEN pg_column_size(e.payload) <= $2 AND octet_length(e.payload::text) <= $2
            THEN e.payload::text END AS payload,
       e.target, (extract(epoch FROM e.deliver_after - statement_timestamp()) * 1000000)::bigint AS wait_us
FROM outbox.events e WHERE e.seq = $1
