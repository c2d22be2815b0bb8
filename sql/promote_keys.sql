-- promote_keys: of these keys, every endpoint that has work of them; for promote, which comes after it.
-- $1 text[]: keys, each once
-- Serves itself from work_order, one probe per pair. The conditions are ranges with the order of that index,
-- since the planner takes others for equally good where it knows little of the keys.
WITH RECURSIVE pair AS (
    SELECT w.key, w.endpoint, w.behind, w.event_seq
    FROM unnest($1::text[]) AS k (key)
    CROSS JOIN LATERAL (
        SELECT key, endpoint, behind, event_seq FROM outbox.work
        WHERE key IS NOT NULL AND (key, endpoint) >= (k.key, 0)
        ORDER BY key, endpoint, behind, event_seq LIMIT 1
    ) w
    WHERE w.key = k.key
    UNION ALL
    SELECT w.key, w.endpoint, w.behind, w.event_seq
    FROM pair p
    CROSS JOIN LATERAL (
        SELECT key, endpoint, behind, event_seq FROM outbox.work
        WHERE key IS NOT NULL AND (key, endpoint) > (p.key, p.endpoint)
        ORDER BY key, endpoint, behind, event_seq LIMIT 1
    ) w
    WHERE w.key = p.key
)
