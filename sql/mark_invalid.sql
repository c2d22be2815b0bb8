-- mark_invalid: endpoints that cannot be used as they are, each with the reason; unless they have been
-- changed since they were read.
-- $1 int[]: endpoint; $2 text[]: reason; $3 text[]: version of the row that was read
UPDATE outbox.endpoints p SET state = 'invalid', state_reason = b.reason
FROM unnest($1::int[], $2::text[], $3::text[]) AS b (endpoint, reason, row_version)
WHERE p.endpoint = b.endpoint AND p.state = 'active' AND p.xmin::text = b.row_version
