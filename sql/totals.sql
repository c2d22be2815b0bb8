-- totals: what waits, over all endpoints; of it, what is held since a backup was restored.
-- Scans outbox.queue and outbox.work, which are small; history is excluded by history_result_known.
SELECT (SELECT count(*) FROM outbox.queue) AS queued,
       count(*) FILTER (WHERE status = 'pending') AS pending,
       count(*) FILTER (WHERE status = 'in_flight') AS in_flight,
       extract(epoch FROM clock_timestamp() - min(next_attempt_at) FILTER (
           WHERE next_attempt_at <= clock_timestamp()))::double precision AS oldest_due_seconds,
       coalesce((SELECT deliveries + events FROM outbox.held), 0) AS held
FROM outbox.deliveries
WHERE status IN ('pending', 'in_flight')
