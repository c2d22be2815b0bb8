-- delivery_list: deliveries, those of the newest events first.
-- $1 text: status, null: any; $2 text: id or name of the endpoint, null: any; $3 text: event id, null: any;
-- $4 bigint: most rows
-- Scans history, but for what is pending or in flight; see delivery_list_recent for what needs no scan.
SELECT d.*
FROM outbox.deliveries d JOIN outbox.events e ON e.id = d.event_id
WHERE ($1 IS NULL OR d.status = $1)
  AND ($2 IS NULL OR d.endpoint_id = $2 OR d.endpoint_name = $2)
  AND ($3 IS NULL OR e.id = $3)
ORDER BY e.seq DESC LIMIT $4::bigint
