-- tenant_set_secret: makes a secret the one that a tenant's endpoints share.
-- $1 text: tenant; $2 text: secret, null: generate one; $3 interval: how long the others still sign
-- Serves itself from secrets_tenant.
SELECT outbox.set_tenant_secret(tenant => $1, secret => $2, overlap => $3::interval) AS secret
