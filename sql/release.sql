-- release: gives leased deliveries that were never sent back, without spending the attempt.
-- $1 bigint[]: event_seq; $2 int[]: endpoint; $3 int[]: attempt; $4 int[]: holder
-- $5 bigint[]: microseconds until they are due again
-- Serves itself from work_pkey.
UPDATE outbox.work w
SET due_at = statement_timestamp() + r.pause_us * interval '1 microsecond', holder = NULL,
    attempt = w.attempt - 1
FROM unnest($1::bigint[], $2::int[], $3::int[], $4::int[], $5::bigint[])
    AS r (event_seq, endpoint, attempt, holder, pause_us)
WHERE w.event_seq = r.event_seq AND w.endpoint = r.endpoint AND w.attempt = r.attempt AND w.holder = r.holder
