-- secrets_unsealed: what arrived in plain text and is not as it should be: to be sealed, or an Ed25519
-- key whose public key is not there yet.
-- $1 boolean: whether secrets are sealed; $2 bigint: most rows
-- Serves itself from secrets_plain.
SELECT s.number, s.secret, s.xmin::text AS row_version FROM outbox.secrets s
WHERE s.secret NOT LIKE 'sealed:%' AND ($1 OR s.public_key IS NULL AND s.secret LIKE 'whsk\_%')
ORDER BY s.number LIMIT $2
