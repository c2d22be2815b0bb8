-- promote_after: the keys and endpoints of deliveries that have ended; for promote, which comes after it.
-- $1 bigint[]: event_seq; $2 int[]: endpoint
-- Serves itself from events_pkey.
WITH pair AS (
    SELECT DISTINCT e.key, n.endpoint
    FROM unnest($1::bigint[], $2::int[]) AS n (event_seq, endpoint)
    JOIN outbox.events e ON e.seq = n.event_seq
    WHERE e.key IS NOT NULL
)
