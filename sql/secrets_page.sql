-- secrets_page: a page of the secrets as they are stored, but for those that have expired.
-- $1 bigint: above this number; $2 bigint: most rows
-- Serves itself from secrets_pkey.
SELECT s.number, s.secret, s.xmin::text AS row_version FROM outbox.secrets s
WHERE s.number > $1 AND (s.expires_at IS NULL OR s.expires_at > statement_timestamp())
ORDER BY s.number LIMIT $2
