-- promote_keys: of these keys, every endpoint that has work of them; for promote, which comes after it.
-- $1 text[]: keys, each once
-- Serves itself from work_order, one probe per pair.
WITH RECURSIVE pair AS (
    SELECT k.key, w.endpoint
    FROM unnest($1::text[]) AS k (key)
    CROSS JOIN LATERAL (
        SELECT endpoint FROM outbox.work WHERE key = k.key ORDER BY endpoint LIMIT 1
    ) w
    UNION ALL
    SELECT p.key, w.endpoint
    FROM pair p
    CROSS JOIN LATERAL (
        SELECT endpoint FROM outbox.work WHERE key = p.key AND endpoint > p.endpoint ORDER BY endpoint LIMIT 1
    ) w
)
