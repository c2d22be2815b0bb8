-- release_unknown: makes due at once what a daemon has leased without knowing of it. The holder stays
-- noted, so that the next claim closes the attempt as interrupted. Returns how many.
-- $1 int: holder; $2 bigint[]: event_seq of the leases it knows; $3 int[]: their endpoints
-- Scans outbox.work, which is small; only after a connection was lost.
WITH released AS (
    UPDATE outbox.work w SET due_at = clock_timestamp()
    WHERE w.holder = $1 AND w.due_at > clock_timestamp()
      AND NOT EXISTS (SELECT FROM unnest($2::bigint[], $3::int[]) AS k (event_seq, endpoint)
                      WHERE k.event_seq = w.event_seq AND k.endpoint = w.endpoint)
    RETURNING 1
)
SELECT count(*) FROM released
