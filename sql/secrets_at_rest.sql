-- secrets_at_rest: how many secrets that have not expired are stored in plain text (the key is null), and
-- how many under each master key; and how many of them belong to tenants.
-- Reads all of outbox.secrets.
SELECT CASE WHEN s.secret LIKE 'sealed:%' THEN split_part(s.secret, ':', 3) END AS key, count(*) AS secrets,
       count(s.tenant) AS of_tenants
FROM outbox.secrets s
WHERE s.expires_at IS NULL OR s.expires_at > statement_timestamp()
GROUP BY 1 ORDER BY 1 NULLS FIRST
