-- endpoint_test: sends one test event to an endpoint.
-- $1 text: id or name; $2 text: the event type whose example it is, null: none
-- Serves itself from endpoints_id_key and event_types_pkey.
SELECT outbox.send_test(endpoint => $1, sample => $2) AS event_id
