-- sweep_secrets: deletes secrets that sign no longer.
-- $1 bigint[]: number
-- Serves itself from secrets_expiring.
DELETE FROM outbox.secrets s
WHERE s.number = ANY ($1::bigint[]) AND s.expires_at <= statement_timestamp() RETURNING s.number
