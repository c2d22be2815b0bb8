-- load_endpoints: every endpoint, with the revision they were read at. Always at least one row; the
-- columns of the endpoint are null when there is none.
SELECT r.revision, p.endpoint, p.id, p.name, p.url, p.events, p.tenant, p.live, p.profile, p.active,
       p.headers::text AS headers, (extract(epoch FROM p.timeout) * 1000000)::bigint AS timeout_us, p.retry,
       p.max_in_flight, p.rate_per_second, p.ordered, p.state, p.xmin::text AS row_version, p.success,
       p.auto_paused
FROM outbox.endpoint_revision r LEFT JOIN outbox.endpoints p ON true
