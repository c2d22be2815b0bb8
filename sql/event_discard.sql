-- event_discard: ends the quarantine of an event without delivering it.
-- $1 text: id
-- Serves itself from events_id_key and quarantine_pkey.
SELECT outbox.discard(event => $1)
