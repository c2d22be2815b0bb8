-- claim: leases due deliveries to the caller, each endpoint up to its own room, so that no endpoint
-- can fill the claim. A lease that ran out is taken over and its attempt closed as interrupted. What is
-- behind an earlier event of its key is not even looked at.
-- $1 int[]: endpoint; $2 int[]: room of each; $3 int: holder; $4 bigint: lease in microseconds
-- $5 int: largest payload in bytes to bring along; null: bring no event along
-- Serves itself from work_due (endpoint, behind, due_at) and events_pkey.
-- The condition is a range in the order of that index, and what was found is changed by its place, so that little
-- is left to choose; but with few rows the planner takes work_pkey for equally good, so it is planned every time.
WITH due AS MATERIALIZED (
    SELECT w.place, w.holder
    FROM unnest($1::int[], $2::int[]) AS r (endpoint, room)
    CROSS JOIN LATERAL (
        SELECT ctid AS place, holder FROM outbox.work
        WHERE (endpoint, behind, due_at) >= (r.endpoint, false, '-infinity'::timestamptz)
          AND (endpoint, behind, due_at) <= (r.endpoint, false, statement_timestamp())
        ORDER BY endpoint, behind, due_at LIMIT r.room
        FOR UPDATE SKIP LOCKED
    ) w
), leased AS (
    UPDATE outbox.work w
    SET due_at = statement_timestamp() + $4 * interval '1 microsecond', attempt = w.attempt + 1, holder = $3
    FROM due
    -- One that changed since the snapshot was taken is not found, and is for the next claim.
    WHERE w.ctid = due.place
    RETURNING w.event_seq, w.endpoint, w.attempt, w.failures, due.holder AS holder_before
), interrupted AS (
    INSERT INTO outbox.history (event_seq, endpoint, attempt, is_attempt, started_at, outcome, error)
    SELECT event_seq, endpoint, attempt - 1, true, statement_timestamp(), 'interrupted',
           'the daemon stopped before it recorded the outcome'
    FROM leased WHERE holder_before IS NOT NULL
)
SELECT l.event_seq, l.endpoint, l.attempt, l.failures, e.id, e.type, e.tenant, e.live,
       (extract(epoch FROM e.created_at) * 1000000)::bigint AS created_us,
       (extract(epoch FROM least(greatest(e.created_at, e.inserted_at, e.deliver_after), timestamptz '9999-01-01 00:00:00Z'))
        * 1000000)::bigint AS wanted_us,
       -- The stored size first: a large payload is not read only to be measured.
       CASE WHEN pg_column_size(e.payload) <= $5 AND octet_length(e.payload::text) <= $5
            THEN e.payload::text END AS payload
FROM leased l
LEFT JOIN LATERAL (SELECT * FROM outbox.events WHERE seq = l.event_seq AND $5 IS NOT NULL LIMIT 1) e ON true
