-- hold_start: holds what is due and older than so. Returns how many deliveries and events.
-- $1 text: an interval
-- Scans outbox.work and outbox.queue.
SELECT deliveries, events FROM outbox.hold($1::interval, 'on request')
