-- load_secrets: the secrets that have not expired, newest first.
SELECT p.endpoint, s.secret,
       (extract(epoch FROM s.expires_at - statement_timestamp()) * 1000000)::bigint AS expires_in_us
FROM outbox.secrets s JOIN outbox.endpoints p ON p.id = s.endpoint_id
WHERE s.expires_at IS NULL OR s.expires_at > statement_timestamp()
ORDER BY p.endpoint, s.created_at DESC
