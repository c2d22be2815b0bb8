-- sample_room: what the outbox takes on the disk, an estimate of how much of that events can take again without
-- growing it, and what of it may be let go: the size of today's history, how many days ago (UTC) the oldest event
-- or day of history is, and the microseconds since that midnight.
-- $1 bigint: pages that are read of outbox.events
-- Reads catalogs, so many pages drawn at random, and the first entry of events_pkey.
WITH part AS (
    SELECT least($1 * current_setting('block_size')::float8 / greatest(pg_relation_size('outbox.events'), 1), 1)
        AS of_events
), live AS (
    -- 65: what the columns that are not named here take, and the head of a row. Large payloads lie beside it.
    SELECT coalesce(sum(65 + pg_column_size(id) + pg_column_size(type) + coalesce(pg_column_size(tenant), 0)
                        + coalesce(pg_column_size(key), 0)
                        + pg_column_size(payload) * CASE WHEN pg_column_size(payload) > 2000 THEN 1.03 ELSE 1 END), 0)
           / (SELECT of_events FROM part) AS bytes
    FROM outbox.events TABLESAMPLE SYSTEM ((SELECT 100 * of_events FROM part))
), today AS (
    SELECT (statement_timestamp() AT TIME ZONE 'UTC')::date AS day
), tables AS (
    SELECT c.oid AS relation,
           CASE WHEN c.relname ~ '^history_[0-9]{8}$' THEN to_date(right(c.relname, 8), 'YYYYMMDD') END AS day
    FROM pg_class c WHERE c.relnamespace = 'outbox'::regnamespace AND c.relkind = 'r'
), disk AS (
    SELECT sum(pg_total_relation_size(t.relation)) AS bytes, min(t.day) AS first_day,
           sum(pg_total_relation_size(t.relation)) FILTER (WHERE t.day = today.day) AS today
    FROM tables t CROSS JOIN today
), oldest AS (
    SELECT (inserted_at AT TIME ZONE 'UTC')::date AS day FROM outbox.events ORDER BY seq LIMIT 1
)
SELECT disk.bytes::bigint AS disk,
       (pg_total_relation_size('outbox.events')
        * greatest(1 - live.bytes / greatest(pg_table_size('outbox.events'), 1), 0))::bigint AS reusable,
       coalesce(disk.today, 0)::bigint AS today,
       greatest(today.day - least(disk.first_day, (SELECT day FROM oldest)), 0) AS oldest_day,
       (extract(epoch FROM (statement_timestamp() AT TIME ZONE 'UTC') - today.day::timestamp) * 1000000)::bigint
           AS since_midnight
FROM disk CROSS JOIN live CROSS JOIN today
