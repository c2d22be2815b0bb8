-- delivery_show: one delivery; the endpoint may have been removed since.
-- $1 text: event id; $2 text: id or name of the endpoint
-- Serves itself from events_id_key, work_pkey and history_event.
SELECT d.*
FROM outbox.deliveries d
WHERE d.event_id = $1 AND (d.endpoint_id = $2 OR d.endpoint_name = $2)
ORDER BY d.endpoint_id = $2 DESC, d.created_at DESC LIMIT 1
