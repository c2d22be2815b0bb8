-- secret_public_key: notes the public key of a secret that was just stored.
-- $1 text: secret, as it is stored; $2 text: its public key
-- Reads all of outbox.secrets, which is small and rarely changes.
UPDATE outbox.secrets SET public_key = $2 WHERE secret = $1 RETURNING number
