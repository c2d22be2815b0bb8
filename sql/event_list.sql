-- event_list: events, newest first, without payloads.
-- $1 text: type, null: any; $2 text: tenant, null: any; $3 timestamptz: not older, null: any age;
-- $4 bigint: most rows
-- Serves itself from events_pkey, backwards.
SELECT e.id, e.type, e.tenant, e.live, e.key, outbox.payload_bytes(e.payload) AS payload_bytes, e.deliver_after,
       e.created_at
FROM outbox.events e
WHERE ($1 IS NULL OR e.type = $1) AND ($2 IS NULL OR e.tenant = $2)
  AND ($3 IS NULL OR e.created_at >= $3::timestamptz)
ORDER BY e.seq DESC LIMIT $4::bigint
