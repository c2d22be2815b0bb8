-- endpoint_own_secret: gives an endpoint a secret of its own.
-- $1 text: id; $2 text: secret, as it is stored
-- Serves itself from endpoints_id_key.
INSERT INTO outbox.secrets (endpoint_id, secret) VALUES ($1, $2) RETURNING number
