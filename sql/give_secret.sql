-- give_secret: a generated secret for an endpoint that plain SQL created without one. Locks the
-- endpoint, so that of several daemons one gives it.
-- $1 int: endpoint; $2 text: secret, as it is stored
-- Serves itself from endpoints_pkey, secrets_endpoint and secrets_tenant.
WITH locked AS (
    SELECT id, tenant FROM outbox.endpoints WHERE endpoint = $1 FOR NO KEY UPDATE
)
INSERT INTO outbox.secrets (endpoint_id, secret, shown)
SELECT id, $2, false FROM locked
WHERE NOT EXISTS (SELECT FROM outbox.secrets s WHERE s.endpoint_id = locked.id)
  AND NOT EXISTS (SELECT FROM outbox.secrets s WHERE s.tenant = locked.tenant
                  AND (s.expires_at IS NULL OR s.expires_at > statement_timestamp()))
