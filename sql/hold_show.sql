-- hold_show: what is held, and why; nothing when nothing is.
-- Serves itself from work_due and quarantine_held.
SELECT held_at, reason, deliveries, events FROM outbox.held
