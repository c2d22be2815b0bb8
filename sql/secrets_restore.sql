-- secrets_restore: stores secrets in another form, with their public keys, unless they have changed
-- since they were read. Returns the numbers of those that had not. Locks in one order, so that
-- several daemons and commands can do this at once.
-- $1 bigint[]: number; $2 text[]: as it was read; $3 text[]: as it shall be; $4 text[]: public key, null:
-- as it is
-- Serves itself from secrets_pkey.
WITH unchanged AS MATERIALIZED (
    SELECT s.number, f.secret, f.public_key
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) AS f (number, found, secret, public_key)
    JOIN outbox.secrets s ON s.number = f.number AND s.secret = f.found
    ORDER BY s.number FOR NO KEY UPDATE OF s
)
UPDATE outbox.secrets s SET secret = u.secret, public_key = coalesce(u.public_key, s.public_key)
FROM unchanged u WHERE s.number = u.number
RETURNING s.number
