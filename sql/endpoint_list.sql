-- endpoint_list: endpoints, newest first, without secrets and headers.
-- $1 text: state, null: any; $2 text: tenant, null: any; $3 bigint: most rows
-- Serves itself from endpoints_pkey, backwards.
SELECT p.id, p.name, p.state, p.state_reason, p.url, p.events, p.tenant, p.live, p.profile, p.active,
       p.description, p.created_at, p.updated_at
FROM outbox.endpoints p
WHERE ($1 IS NULL OR p.state = $1) AND ($2 IS NULL OR p.tenant = $2)
ORDER BY p.endpoint DESC LIMIT $3::bigint
