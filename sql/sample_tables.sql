-- sample_tables: the size of each table of the schema with its indexes, and its dead rows by the statistics of
-- the server. The days of history are one row, with the last and the first of them, in days from today (UTC)
-- and as unix seconds. Reads catalogs only.
SELECT CASE WHEN day IS NOT NULL THEN 'history'
            WHEN name IN ('events', 'queue', 'work', 'history_default') THEN name
            ELSE 'other' END AS part,
       coalesce(sum(pg_total_relation_size(relation)), 0)::bigint AS bytes,
       coalesce(sum(pg_stat_get_dead_tuples(relation)), 0)::bigint AS dead,
       max(day) - (statement_timestamp() AT TIME ZONE 'UTC')::date AS days_ahead,
       extract(epoch FROM min(day)::timestamp)::float8 AS first_day
FROM (
    SELECT c.oid AS relation, c.relname::text AS name,
           CASE WHEN c.relname ~ '^history_[0-9]{8}$' THEN to_date(right(c.relname, 8), 'YYYYMMDD') END AS day
    FROM pg_class c WHERE c.relnamespace = 'outbox'::regnamespace AND c.relkind = 'r'
) AS tables
GROUP BY 1
