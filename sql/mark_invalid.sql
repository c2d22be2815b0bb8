-- mark_invalid: endpoints that cannot be used as they are, each with the reason.
-- $1 int[]: endpoint; $2 text[]: reason
UPDATE outbox.endpoints p SET state = 'invalid', state_reason = b.reason
FROM unnest($1::int[], $2::text[]) AS b (endpoint, reason)
WHERE p.endpoint = b.endpoint AND p.state = 'active'
