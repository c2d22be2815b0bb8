-- delivery_cancel: ends an unfinished delivery; false when there is none.
-- $1 text: event id; $2 text: id or name of the endpoint
-- Serves itself from events_id_key and work_pkey.
SELECT outbox.cancel(event => $1, endpoint => $2) AS cancelled
