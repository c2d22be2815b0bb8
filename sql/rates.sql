-- rates: every endpoint by name, with its attempts of the last 1, 5 and 60 minutes. Of the minute that is only partly in a
-- period, that part is counted.
-- Serves itself from endpoint_minutes_pkey, 64 rows per endpoint.
SELECT p.endpoint, p.name, p.state, p.state_reason,
       coalesce(sum(m.delivered * w.last_1), 0)::float8 AS delivered_1m,
       coalesce(sum(m.failed * w.last_1), 0)::float8 AS failed_1m,
       coalesce(sum(m.delivered * w.last_5), 0)::float8 AS delivered_5m,
       coalesce(sum(m.failed * w.last_5), 0)::float8 AS failed_5m,
       coalesce(sum(m.delivered * w.last_60), 0)::float8 AS delivered_1h,
       coalesce(sum(m.failed * w.last_60), 0)::float8 AS failed_1h,
       p.id, to_json(max(m.last_success_at)) #>> '{}' AS last_success_at,
       to_json(max(m.last_failure_at)) #>> '{}' AS last_failure_at
FROM outbox.endpoints p
LEFT JOIN outbox.endpoint_minutes m ON m.endpoint = p.endpoint
-- How far back a minute begins, in minutes, counted from one minute ago.
CROSS JOIN LATERAL (SELECT extract(epoch FROM statement_timestamp() - m.minute) / 60 - 1) AS b (ago)
CROSS JOIN LATERAL (SELECT least(greatest(1 - b.ago, 0), 1), least(greatest(5 - b.ago, 0), 1),
                           least(greatest(60 - b.ago, 0), 1)) AS w (last_1, last_5, last_60)
GROUP BY p.endpoint
ORDER BY p.name
