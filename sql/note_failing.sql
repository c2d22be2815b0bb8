-- note_failing: keeps the list of endpoints that take nothing, from what was tried in the last minutes.
-- To be run at least every three minutes.
-- Serves itself from endpoint_minutes_pkey.
WITH recent AS MATERIALIZED (
    SELECT m.endpoint, max(m.last_success_at) AS success, max(m.last_failure_at) AS failure
    FROM outbox.endpoints p
    JOIN outbox.endpoint_minutes m ON m.endpoint = p.endpoint AND m.slot = ANY (ARRAY(
        SELECT ((floor(extract(epoch FROM statement_timestamp()) / 60)::bigint - n) % 64)::smallint
        FROM generate_series(0, 3) AS n))
    WHERE m.minute > statement_timestamp() - interval '5 minutes'
    GROUP BY m.endpoint
), well AS (
    DELETE FROM outbox.endpoint_failures f USING recent r
    WHERE r.endpoint = f.endpoint AND r.success > f.since
)
INSERT INTO outbox.endpoint_failures (endpoint, since)
SELECT endpoint, failure FROM recent WHERE failure > coalesce(success, '-infinity')
ON CONFLICT (endpoint) DO NOTHING
