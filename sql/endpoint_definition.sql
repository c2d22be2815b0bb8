-- endpoint_definition: what decides whether an endpoint is valid, header values included.
-- $1 text: id or name
-- Serves itself from endpoints_id_key.
SELECT p.url, p.events, p.profile, p.headers, round(extract(epoch FROM p.timeout) * 1000)::bigint || 'ms' AS timeout,
       p.retry, p.success, p.ordered
FROM outbox.find_endpoint($1) p
