-- sample_exact: what waits, counted row by row, as long as it is not more than so many rows. One row for
-- each endpoint and kind; the events in the queue are a row without an endpoint. Kinds: 0 queued, 1 behind an
-- earlier event of its key, 2 due, 3 in flight, and from 4 on scheduled: within 1 min, 5 min, 15 min, 1 h, 6 h,
-- 1 d, later.
-- $1 bigint: most rows that are looked at of each table, so that the cost has an end
-- Serves itself from queue_pkey and work_due.
SELECT NULL::int AS endpoint, 0 AS kind, count(*) AS rows
FROM (SELECT FROM outbox.queue ORDER BY seq LIMIT $1) q
UNION ALL
SELECT endpoint,
       CASE WHEN behind THEN 1
            WHEN due_at <= statement_timestamp() THEN 2
            WHEN holder IS NOT NULL THEN 3
            ELSE 4 + width_bucket(extract(epoch FROM due_at - statement_timestamp())::float8,
                                  '{60,300,900,3600,21600,86400}'::float8[]) END AS kind,
       count(*)
FROM (SELECT endpoint, behind, due_at, holder FROM outbox.work ORDER BY endpoint, behind, due_at LIMIT $1) w
GROUP BY 1, 2
