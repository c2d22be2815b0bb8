-- sample_estimate: as sample_exact, for tables of any size: estimated from so many pages of each, drawn at
-- random.
-- $1 bigint: pages that are read of each table
-- Scans that many pages of outbox.queue and outbox.work, whatever is in them.
WITH part AS (
    SELECT least($1 * current_setting('block_size')::float8
                 / greatest(pg_relation_size('outbox.queue'), 1), 1) AS of_queue,
           least($1 * current_setting('block_size')::float8
                 / greatest(pg_relation_size('outbox.work'), 1), 1) AS of_work
)
SELECT NULL::int AS endpoint, 0 AS kind, round(count(*) / (SELECT of_queue FROM part))::bigint AS rows
FROM outbox.queue TABLESAMPLE SYSTEM ((SELECT 100 * of_queue FROM part))
UNION ALL
SELECT endpoint,
       CASE WHEN behind THEN 1
            WHEN due_at <= statement_timestamp() THEN 2
            WHEN holder IS NOT NULL THEN 3
            ELSE 4 + width_bucket(extract(epoch FROM due_at - statement_timestamp())::float8,
                                  '{60,300,900,3600,21600,86400}'::float8[]) END AS kind,
       round(count(*) / (SELECT of_work FROM part))::bigint
FROM outbox.work TABLESAMPLE SYSTEM ((SELECT 100 * of_work FROM part))
GROUP BY 1, 2
