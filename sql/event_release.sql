-- event_release: delivers an event in quarantine after all.
-- $1 text: id
-- Serves itself from events_id_key and quarantine_pkey.
SELECT outbox.release(event => $1)
