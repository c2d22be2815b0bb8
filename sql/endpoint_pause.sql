-- endpoint_pause: lets the deliveries of an endpoint wait.
-- $1 text: id or name; $2 text: reason, null: the usual one
-- Serves itself from endpoints_id_key.
SELECT outbox.pause(endpoint => $1, reason => $2)
