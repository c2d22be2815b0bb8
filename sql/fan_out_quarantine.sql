-- fan_out_quarantine: holds events of a batch back. Returns those it holds; one that is not among them
-- has been released before, and is to be delivered.
-- $1 bigint[]: event_seq; $2 text[]: reason of each
-- Serves itself from quarantine_pkey.
INSERT INTO outbox.quarantine (event_seq, reason)
SELECT n.event_seq, n.reason FROM unnest($1::bigint[], $2::text[]) AS n (event_seq, reason)
ON CONFLICT (event_seq) DO NOTHING
RETURNING event_seq
