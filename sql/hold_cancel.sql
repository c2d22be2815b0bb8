-- hold_cancel: cancels what is held.
-- Scans outbox.work.
SELECT outbox.cancel_held() AS cancelled
