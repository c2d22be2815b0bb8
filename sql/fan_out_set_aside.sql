-- fan_out_set_aside: takes events off the queue and into quarantine without reading them. One that was
-- released from there is held again, for the reason that there is now. Returns those that were queued.
-- $1 bigint[]: event_seq; $2 text[]: reason of each
-- Serves itself from queue_pkey and quarantine_pkey.
WITH taken AS (
    DELETE FROM outbox.queue q WHERE q.seq = ANY ($1::bigint[]) RETURNING q.seq
)
INSERT INTO outbox.quarantine (event_seq, reason)
SELECT n.event_seq, n.reason
FROM unnest($1::bigint[], $2::text[]) AS n (event_seq, reason) JOIN taken t ON t.seq = n.event_seq
ON CONFLICT (event_seq) DO UPDATE
SET reason = excluded.reason, quarantined_at = excluded.quarantined_at, released_at = NULL, discarded_at = NULL
RETURNING event_seq
