-- endpoint_subscribed: what came of endpoint_subscribe in this transaction.
-- $1 text: id
-- Serves itself from endpoints_id_key.
SELECT p.id, p.name, p.created_at = now() AS created FROM outbox.endpoints p WHERE p.id = $1
