-- secrets_restore: stores secrets in another form, with their public keys, unless their rows have
-- changed since they were read. Returns the numbers of those that had not. Locks in one order, so that
-- several daemons and commands can do this at once. What was read is named by the version of its row,
-- never by its text: parameters stand in the server's log.
-- $1 bigint[]: number; $2 text[]: version of the row that was read; $3 text[]: as it shall be, null: as
-- it is; $4 text[]: public key, null: as it is
-- Serves itself from secrets_pkey.
WITH unchanged AS MATERIALIZED (
    SELECT s.number, f.secret, f.public_key
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) AS f (number, row_version, secret, public_key)
    JOIN outbox.secrets s ON s.number = f.number AND s.xmin::text = f.row_version
    ORDER BY s.number FOR NO KEY UPDATE OF s
)
UPDATE outbox.secrets s
SET secret = coalesce(u.secret, s.secret), public_key = coalesce(u.public_key, s.public_key)
FROM unchanged u WHERE s.number = u.number
RETURNING s.number
