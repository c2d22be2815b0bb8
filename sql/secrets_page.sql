-- secrets_page: a page of all secrets as they are stored, those that have expired included.
-- $1 bigint: above this number; $2 bigint: most rows
-- Serves itself from secrets_pkey.
SELECT s.number, s.secret FROM outbox.secrets s WHERE s.number > $1 ORDER BY s.number LIMIT $2
