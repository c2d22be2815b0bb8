-- endpoint_show: all of one endpoint but secrets and header values, and how it fares.
-- $1 text: id or name
-- Serves itself from endpoints_pkey, secrets_endpoint, endpoint_minutes_pkey and work_due; outbox.find_endpoint
-- does from endpoints_id_key.
SELECT p.id, p.name, p.state, p.state_reason, p.url, p.events, p.tenant, p.live, p.profile, p.active,
       -- Plain SQL may have put anything there; what is no object makes the endpoint invalid.
       ARRAY(SELECT json_object_keys(CASE json_typeof(p.headers) WHEN 'object' THEN p.headers ELSE '{}' END))
           AS headers,
       (extract(epoch FROM p.timeout) * 1000)::bigint AS timeout_ms, p.retry, p.success, p.max_in_flight,
       p.rate_per_second, p.ordered, p.description, s.secrets, s.secret_expires_at,
       s.public_keys, p.created_at, p.updated_at,
       h.delivered_1h, h.failed_1h, h.success_ratio_1h, h.pending, h.oldest_pending_seconds,
       h.last_success_at, h.last_failure_at
FROM outbox.find_endpoint($1) p
JOIN outbox.endpoint_health h ON h.endpoint_id = p.id
CROSS JOIN LATERAL (
    SELECT count(*) AS secrets, min(expires_at) AS secret_expires_at,
           coalesce(array_agg(public_key ORDER BY created_at DESC, number DESC)
                        FILTER (WHERE public_key IS NOT NULL), '{}') AS public_keys
    FROM outbox.signing_secrets
    WHERE endpoint = p.endpoint
) s
