-- secret_list: who owns which secret and how it is stored, newest first, never the secret itself; without
-- those that have expired.
-- $1 bigint: most rows
-- Serves itself from secrets_pkey, backwards.
SELECT p.name AS endpoint, s.tenant,
       CASE WHEN s.secret LIKE 'sealed:%' THEN split_part(s.secret, ':', 3) ELSE 'plain' END AS stored,
       s.public_key, s.shown, s.created_at, s.expires_at
FROM outbox.secrets s LEFT JOIN outbox.endpoints p ON p.id = s.endpoint_id
WHERE s.expires_at IS NULL OR s.expires_at > statement_timestamp()
ORDER BY s.number DESC LIMIT $1::bigint
