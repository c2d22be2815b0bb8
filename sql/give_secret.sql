-- give_secret: a generated secret for an endpoint that plain SQL created without one. Locks the
-- endpoint, so that of several daemons one gives it.
-- $1 int: endpoint
WITH locked AS (
    SELECT id FROM outbox.endpoints WHERE endpoint = $1 FOR NO KEY UPDATE
)
INSERT INTO outbox.secrets (endpoint_id, secret)
SELECT id, outbox.generate_secret() FROM locked
WHERE NOT EXISTS (SELECT FROM outbox.secrets s WHERE s.endpoint_id = locked.id)
