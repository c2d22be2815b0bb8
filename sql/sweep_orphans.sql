-- sweep_orphans: ends deliveries whose endpoint was removed while they were being made.
-- Returns how many.
WITH gone AS (
    DELETE FROM outbox.work w
    WHERE NOT EXISTS (SELECT FROM outbox.endpoints p WHERE p.endpoint = w.endpoint)
      AND w.due_at <= statement_timestamp()
    RETURNING event_seq, endpoint, attempt, created_at, last_outcome, last_status
), ended AS (
    INSERT INTO outbox.history (event_seq, endpoint, attempt, is_attempt, started_at, outcome, http_status, error,
                                result, created_at)
    SELECT event_seq, endpoint, attempt, false, statement_timestamp(), last_outcome, last_status,
           'endpoint removed', 'cancelled', created_at
    FROM gone
    RETURNING 1
)
SELECT count(*) FROM ended
