-- load_payload: the payload of one event, for those too large to travel with a batch, and its size; no
-- payload when it is larger than asked for.
-- $1 bigint: event_seq; $2 int: largest size in bytes
SELECT CASE WHEN octet_length(p.payload) <= $2 THEN p.payload END AS payload, octet_length(p.payload) AS bytes
FROM (SELECT payload::text FROM outbox.events WHERE seq = $1 OFFSET 0) p
