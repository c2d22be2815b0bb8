-- give_secrets: a generated secret each for endpoints that plain SQL created without one. Of several
-- daemons one gives it: secrets_unseen admits no second.
-- $1 int[]: endpoint; $2 text[]: secret of each, as it is stored
-- Serves itself from endpoints_pkey, secrets_endpoint, secrets_tenant and secrets_unseen.
INSERT INTO outbox.secrets AS s (endpoint_id, secret, shown)
SELECT p.id, n.secret, false
FROM unnest($1::int[], $2::text[]) AS n (endpoint, secret) JOIN outbox.endpoints p USING (endpoint)
WHERE NOT EXISTS (SELECT FROM outbox.secrets o WHERE o.endpoint_id = p.id
                  AND (o.expires_at IS NULL OR o.expires_at > statement_timestamp()))
  AND NOT EXISTS (SELECT FROM outbox.secrets t WHERE t.tenant = p.tenant
                  AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp()))
ON CONFLICT (endpoint_id) WHERE NOT shown
    DO UPDATE SET secret = excluded.secret, created_at = excluded.created_at, expires_at = NULL
    WHERE s.expires_at <= statement_timestamp()
