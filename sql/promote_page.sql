-- promote_page: the next keys and endpoints that have ordered work; for promote, which comes after it.
-- $1 text: key, $2 int: endpoint: go on behind these; $3 int: most
-- Serves itself from work_order, as promote_keys does.
WITH RECURSIVE pair AS (
    (SELECT key, endpoint, behind, event_seq, 1 AS number FROM outbox.work
     WHERE key IS NOT NULL AND (key, endpoint) > ($1::text, $2::int)
     ORDER BY key, endpoint, behind, event_seq LIMIT 1)
    UNION ALL
    SELECT w.key, w.endpoint, w.behind, w.event_seq, p.number + 1
    FROM pair p
    CROSS JOIN LATERAL (
        SELECT key, endpoint, behind, event_seq FROM outbox.work
        WHERE key IS NOT NULL AND (key, endpoint) > (p.key, p.endpoint)
        ORDER BY key, endpoint, behind, event_seq LIMIT 1
    ) w
    WHERE p.number < $3
)
