-- sample_oldest: for how many seconds the oldest delivery of each endpoint has been due, and the oldest event
-- been in the queue: that is the row without an endpoint. What has nothing due is left out.
-- $1 int[]: endpoint
-- Serves itself from work_due (endpoint, behind, due_at), one probe per endpoint, queue_pkey and events_pkey.
SELECT r.endpoint, extract(epoch FROM statement_timestamp() - w.due_at)::float8 AS seconds
FROM unnest($1::int[]) AS r (endpoint)
CROSS JOIN LATERAL (
    SELECT due_at FROM outbox.work
    WHERE endpoint = r.endpoint AND NOT behind AND due_at <= statement_timestamp() ORDER BY due_at LIMIT 1
) w
UNION ALL
SELECT NULL, greatest(extract(epoch FROM statement_timestamp() - e.inserted_at)::float8, 0)
FROM (SELECT seq FROM outbox.queue ORDER BY seq LIMIT 1) q JOIN outbox.events e USING (seq)
