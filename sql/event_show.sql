-- event_show: one event without its payload.
-- $1 text: id
-- Serves itself from events_pkey, queue_pkey and quarantine_pkey; outbox.find_event does from events_id_key.
SELECT e.id, e.type, e.tenant, e.live, e.key, outbox.payload_bytes(e.payload) AS payload_bytes, e.deliver_after,
       e.created_at, EXISTS (SELECT FROM outbox.queue q WHERE q.seq = e.seq) AS queued,
       CASE WHEN k.released_at IS NOT NULL THEN 'released' WHEN k.discarded_at IS NOT NULL THEN 'discarded'
            WHEN k.event_seq IS NOT NULL THEN 'held' END AS quarantine,
       k.reason AS quarantine_reason, k.quarantined_at, k.released_at, k.discarded_at
FROM outbox.events e LEFT JOIN outbox.quarantine k ON k.event_seq = e.seq
WHERE e.seq = outbox.find_event($1)
