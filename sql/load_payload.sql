-- load_payload: the payload of one event, for those too large to travel with a batch.
-- $1 bigint: event_seq
SELECT payload::text FROM outbox.events WHERE seq = $1
