-- fan_out_released: which events of a batch have been in quarantine, and were released.
-- $1 bigint[]: event_seq
-- Serves itself from quarantine_pkey.
SELECT q.event_seq FROM outbox.quarantine q WHERE q.event_seq = ANY ($1::bigint[]) AND q.released_at IS NOT NULL
