-- attempt_list: the attempts of an event, oldest first.
-- $1 text: event id; $2 text: id of the endpoint, null: all of them
-- Serves itself from events_id_key and history_event.
SELECT a.endpoint_id, n.name AS endpoint_name, a.attempt, a.started_at, a.duration_ms, a.outcome, a.http_status,
       a.error, a.remote_addr, a.response_headers, encode(a.response_body, 'hex') AS response_body
FROM outbox.attempts a JOIN outbox.endpoint_names n ON n.id = a.endpoint_id
WHERE a.event_id = $1 AND ($2 IS NULL OR a.endpoint_id = $2)
ORDER BY a.started_at, a.endpoint_id, a.attempt
