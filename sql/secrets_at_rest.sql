-- secrets_at_rest: how many secrets are stored in plain text (the key is null), and how many under each
-- master key.
-- Reads all of outbox.secrets.
SELECT CASE WHEN s.secret LIKE 'sealed:%' THEN split_part(s.secret, ':', 3) END AS key, count(*) AS secrets
FROM outbox.secrets s GROUP BY 1 ORDER BY 1 NULLS FIRST
