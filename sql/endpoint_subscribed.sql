-- endpoint_subscribed: what came of endpoint_subscribe in this transaction. The secret is there only
-- when the endpoint is new.
-- $1 text: id
-- Serves itself from endpoints_id_key and secrets_endpoint.
SELECT p.id, p.name, p.created_at = now() AS created, s.secret
FROM outbox.endpoints p
LEFT JOIN outbox.secrets s ON s.endpoint_id = p.id AND p.created_at = now()
WHERE p.id = $1
