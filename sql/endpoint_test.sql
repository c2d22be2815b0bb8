-- endpoint_test: sends one test event to an endpoint.
-- $1 text: id or name
-- Serves itself from endpoints_id_key.
SELECT outbox.send_test(endpoint => $1) AS event_id
