-- secrets_expired: secrets that sign no longer. Looked for before they are deleted, because a DELETE tells
-- the daemons of a change even if it finds nothing.
-- $1 bigint: most rows
-- Serves itself from secrets_expiring.
SELECT s.number FROM outbox.secrets s WHERE s.expires_at <= statement_timestamp()
ORDER BY s.expires_at LIMIT $1
