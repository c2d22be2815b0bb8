-- load_secrets: the secrets that sign, newest first; which of them do is said by signing_secrets.
-- Serves itself from secrets_endpoint and secrets_tenant.
SELECT s.endpoint, s.secret,
       (extract(epoch FROM s.expires_at - statement_timestamp()) * 1000000)::bigint AS expires_in_us
FROM outbox.signing_secrets s
ORDER BY s.endpoint, s.created_at DESC, s.number DESC
