-- endpoint_unseen_secret: takes away the secret that endpoint_subscribe generated, which nobody has
-- seen. Without a row in return there was none, for the tenant has one.
-- $1 text: id
-- Serves itself from secrets_unseen.
DELETE FROM outbox.secrets WHERE endpoint_id = $1 AND NOT shown RETURNING number
