-- endpoint_health: how every endpoint fares, by name.
-- Serves itself from endpoint_minutes_pkey and work_due.
SELECT * FROM outbox.endpoint_health ORDER BY name
