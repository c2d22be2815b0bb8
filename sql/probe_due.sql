-- probe_due: when the next delivery of each endpoint is due; endpoints without work are left out.
-- $1 int[]: endpoint
-- Serves itself from work_due (endpoint, behind, due_at), one probe per endpoint.
SELECT r.endpoint, (extract(epoch FROM w.due_at - statement_timestamp()) * 1000000)::bigint AS wait_us
FROM unnest($1::int[]) AS r (endpoint)
CROSS JOIN LATERAL (
    SELECT due_at FROM outbox.work WHERE endpoint = r.endpoint AND NOT behind ORDER BY due_at LIMIT 1
) w
