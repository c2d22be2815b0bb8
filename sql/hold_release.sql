-- hold_release: delivers what is held.
-- Scans outbox.work.
SELECT outbox.release_held() AS released
