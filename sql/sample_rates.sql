-- sample_rates: deliveries a second that each endpoint took from all daemons in the last five minutes, to the
-- minute.
-- $1 int[]: endpoint
-- Serves itself from endpoint_minutes_pkey, six rows per endpoint.
WITH period AS (
    SELECT n.minute, mod(extract(epoch FROM n.minute)::bigint / 60, 64)::smallint AS slot,
           300 + extract(epoch FROM statement_timestamp() - date_trunc('minute', statement_timestamp())) AS seconds
    FROM generate_series(date_trunc('minute', statement_timestamp()) - interval '5 minutes',
                         date_trunc('minute', statement_timestamp()), interval '1 minute') AS n (minute)
)
SELECT r.endpoint, (sum(m.delivered) / max(p.seconds))::float8 AS per_second
FROM unnest($1::int[]) AS r (endpoint)
CROSS JOIN period p
JOIN outbox.endpoint_minutes m ON m.endpoint = r.endpoint AND m.slot = p.slot AND m.minute = p.minute
GROUP BY r.endpoint
