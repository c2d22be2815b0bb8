-- event_show: one event without its payload.
-- $1 text: id
-- Serves itself from events_id_key.
SELECT e.id, e.type, e.tenant, e.live, e.key, octet_length(e.payload::text) AS payload_bytes, e.deliver_after,
       e.created_at, EXISTS (SELECT FROM outbox.queue q WHERE q.seq = e.seq) AS queued
FROM outbox.events e
WHERE e.seq = outbox.find_event($1)
