-- event_list_quarantined: events that are held back, newest first, each with the reason.
-- $1 text: type, null: any; $2 text: tenant, null: any; $3 timestamptz: not older, null: any age;
-- $4 bigint: most rows
-- Serves itself from quarantine_held and events_pkey.
SELECT q.event_id AS id, q.event_type AS type, q.tenant, q.reason, q.quarantined_at
FROM outbox.quarantined_events q
WHERE ($1 IS NULL OR q.event_type = $1) AND ($2 IS NULL OR q.tenant = $2)
  AND ($3 IS NULL OR q.quarantined_at >= $3::timestamptz)
ORDER BY q.quarantined_at DESC, q.event_id DESC LIMIT $4::bigint
