-- delivery_replay: makes a finished delivery pending again; false when it is pending anyway.
-- $1 text: event id; $2 text: id or name of the endpoint
-- Serves itself from events_id_key, work_pkey, quarantine_pkey and history_event.
SELECT outbox.replay(event => $1, endpoint => $2) AS replayed
