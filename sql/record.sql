-- record: writes the outcomes of a batch of attempts. Fenced: a delivery that is no longer leased to
-- this holder under this attempt number is left as it is, and its history too.
-- Returns the deliveries that were still ours.
-- Arrays, one entry per attempt: $1 bigint[] event_seq, $2 int[] endpoint, $3 int[] attempt,
-- $4 int[] holder, $5 bigint[] microseconds since the start, $6 int[] duration in ms, $7 text[] outcome,
-- $8 smallint[] status, $9 text[] reply headers (JSON), $10 bytea[] reply body, $11 text[] error,
-- $12 text[] remote address, $13 text[] result (null: retry), $14 bigint[] microseconds to the retry,
-- $15 int[] what to add to failures
-- Serves itself from work_pkey and endpoint_minutes_pkey.
-- Kept prepared, so its plan must not depend on what the tables held when it was made: a range in the order
-- of an index leaves that index alone.
WITH ended AS MATERIALIZED (
    SELECT *
    FROM unnest($1::bigint[], $2::int[], $3::int[], $4::int[], $5::bigint[], $6::int[], $7::text[],
                $8::smallint[], $9::text[], $10::bytea[], $11::text[], $12::text[], $13::text[],
                $14::bigint[], $15::int[])
        AS d (event_seq, endpoint, attempt, holder, age_us, duration_ms, outcome, http_status, headers, body,
              error, remote_addr, result, retry_us, failed)
), finished AS (
    DELETE FROM outbox.work w USING ended d
    WHERE d.result IS NOT NULL AND w.holder = d.holder AND w.attempt = d.attempt
      AND (w.event_seq, w.endpoint) >= (d.event_seq, d.endpoint)
      AND (w.event_seq, w.endpoint) <= (d.event_seq, d.endpoint)
    RETURNING d.*, w.created_at
), scheduled AS (
    UPDATE outbox.work w
    SET due_at = clock_timestamp() + d.retry_us * interval '1 microsecond', holder = NULL,
        failures = w.failures + d.failed, last_outcome = d.outcome, last_status = d.http_status
    FROM ended d
    WHERE d.result IS NULL AND w.holder = d.holder AND w.attempt = d.attempt
      AND (w.event_seq, w.endpoint) >= (d.event_seq, d.endpoint)
      AND (w.event_seq, w.endpoint) <= (d.event_seq, d.endpoint)
    RETURNING d.*, NULL::timestamptz AS created_at
), ours AS (
    SELECT * FROM finished UNION ALL SELECT * FROM scheduled
), logged AS (
    INSERT INTO outbox.history (event_seq, endpoint, attempt, is_attempt, started_at, duration_ms, outcome,
                                http_status, response_headers, response_body, error, remote_addr, result,
                                created_at)
    SELECT event_seq, endpoint, attempt, true, clock_timestamp() - age_us * interval '1 microsecond',
           duration_ms, outcome, http_status, headers::json, body, error, remote_addr, result, created_at
    FROM ours
), counted AS (
    INSERT INTO outbox.endpoint_minutes AS m
        (endpoint, slot, minute, delivered, failed, last_success_at, last_failure_at)
    SELECT endpoint, (floor(extract(epoch FROM statement_timestamp()) / 60)::bigint % 64)::smallint,
           date_trunc('minute', statement_timestamp()),
           count(*) FILTER (WHERE outcome = 'success'), count(*) FILTER (WHERE outcome <> 'success'),
           max(statement_timestamp()) FILTER (WHERE outcome = 'success'),
           max(statement_timestamp()) FILTER (WHERE outcome <> 'success')
    FROM ours
    GROUP BY endpoint
    -- One order for everybody, or two daemons could deadlock.
    ORDER BY endpoint
    ON CONFLICT (endpoint, slot) DO UPDATE
    SET delivered = excluded.delivered + CASE WHEN m.minute = excluded.minute THEN m.delivered ELSE 0 END,
        failed = excluded.failed + CASE WHEN m.minute = excluded.minute THEN m.failed ELSE 0 END,
        minute = excluded.minute,
        last_success_at = coalesce(excluded.last_success_at, m.last_success_at),
        last_failure_at = coalesce(excluded.last_failure_at, m.last_failure_at)
)
SELECT event_seq, endpoint FROM ours
