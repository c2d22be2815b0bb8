-- endpoint_remove: removes an endpoint; its unfinished deliveries are cancelled.
-- $1 text: id or name
-- Serves itself from endpoints_id_key and work_due.
SELECT outbox.unsubscribe(endpoint => $1)
