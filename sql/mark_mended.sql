-- mark_mended: endpoints that were invalid and can be used after all, as after a change of the
-- configuration.
-- $1 int[]: endpoint
UPDATE outbox.endpoints SET state = 'active', state_reason = NULL
WHERE endpoint = ANY ($1) AND state = 'invalid'
