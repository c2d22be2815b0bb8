-- event_payload: the payload of one event, as text.
-- $1 text: id
-- Serves itself from events_pkey; outbox.find_event does from events_id_key.
SELECT e.payload::text AS payload FROM outbox.events e WHERE e.seq = outbox.find_event($1)
