-- endpoint_resume: lets the deliveries of an endpoint go on.
-- $1 text: id or name
-- Serves itself from endpoints_id_key.
SELECT outbox.resume(endpoint => $1)
