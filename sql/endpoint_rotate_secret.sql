-- endpoint_rotate_secret: makes a secret the newest one of an endpoint.
-- $1 text: id or name; $2 text: secret, null: generate one; $3 interval: how long the others still sign
-- Serves itself from secrets_endpoint.
SELECT outbox.rotate_secret(endpoint => $1, new_secret => $2, overlap => $3::interval) AS secret
