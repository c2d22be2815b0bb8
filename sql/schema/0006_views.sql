-- What people, dashboards and tests read.

CREATE VIEW outbox.endpoint_names AS
    SELECT endpoint, id, name FROM outbox.endpoints
    UNION ALL
    SELECT endpoint, id, name FROM outbox.removed_endpoints;
COMMENT ON VIEW outbox.endpoint_names IS 'Number, id and name of every endpoint that there is or was';
COMMENT ON COLUMN outbox.endpoint_names.endpoint IS 'endpoints.endpoint';
COMMENT ON COLUMN outbox.endpoint_names.id IS 'endpoints.id';
COMMENT ON COLUMN outbox.endpoint_names.name IS 'endpoints.name';

CREATE VIEW outbox.deliveries AS
    SELECT e.id AS event_id, n.id AS endpoint_id, n.name AS endpoint_name, e.type AS event_type, e.tenant,
           CASE WHEN w.holder IS NOT NULL AND w.due_at > now() THEN 'in_flight' ELSE 'pending' END AS status,
           w.attempt AS attempts, w.created_at,
           CASE WHEN w.holder IS NOT NULL AND w.due_at > now() THEN NULL
                WHEN w.behind THEN greatest(w.due_at, (
                    -- The one under way sorts first; a range, so that no other index looks as good.
                    SELECT CASE WHEN a.key = w.key AND a.endpoint = w.endpoint AND NOT a.behind AND a.holder IS NULL
                           THEN a.due_at END
                    FROM outbox.work a
                    WHERE a.key IS NOT NULL AND (a.key, a.endpoint) >= (w.key, w.endpoint)
                    ORDER BY a.key, a.endpoint, a.behind, a.event_seq LIMIT 1))
                ELSE w.due_at END AS next_attempt_at,
           NULL::timestamptz AS finished_at, w.last_outcome, w.last_status::int AS last_status
    FROM outbox.work w
    JOIN outbox.events e ON e.seq = w.event_seq
    JOIN outbox.endpoint_names n ON n.endpoint = w.endpoint
    UNION ALL
    SELECT e.id, n.id, n.name, e.type, e.tenant, h.result, h.attempt, h.created_at, NULL,
           h.started_at + coalesce(h.duration_ms, 0) * interval '1 millisecond', h.outcome, h.http_status::int
    FROM outbox.history h
    JOIN outbox.events e ON e.seq = h.event_seq
    JOIN outbox.endpoint_names n ON n.endpoint = h.endpoint
    WHERE h.result IS NOT NULL;
COMMENT ON VIEW outbox.deliveries IS 'One row per event and endpoint: how its delivery stands or ended';
COMMENT ON COLUMN outbox.deliveries.event_id IS 'events.id';
COMMENT ON COLUMN outbox.deliveries.endpoint_id IS 'endpoints.id';
COMMENT ON COLUMN outbox.deliveries.endpoint_name IS 'endpoints.name';
COMMENT ON COLUMN outbox.deliveries.event_type IS 'events.type';
COMMENT ON COLUMN outbox.deliveries.tenant IS 'events.tenant';
COMMENT ON COLUMN outbox.deliveries.status IS 'pending, in_flight, delivered, exhausted or cancelled';
COMMENT ON COLUMN outbox.deliveries.attempts IS 'Requests so far';
COMMENT ON COLUMN outbox.deliveries.created_at IS 'When the event was fanned out, or replayed';
COMMENT ON COLUMN outbox.deliveries.next_attempt_at IS
    'When a pending delivery is tried next; at the earliest, where it waits for an earlier event of its key; in the year '
    '9999 while it is held (outbox.held)';
COMMENT ON COLUMN outbox.deliveries.finished_at IS 'When it ended';
COMMENT ON COLUMN outbox.deliveries.last_outcome IS 'Outcome of the last attempt';
COMMENT ON COLUMN outbox.deliveries.last_status IS 'HTTP status of the last attempt';

CREATE VIEW outbox.attempts AS
    SELECT e.id AS event_id, n.id AS endpoint_id, h.attempt, h.started_at, h.duration_ms, h.outcome,
           h.http_status::int AS http_status, h.response_headers, h.response_body, h.error, h.remote_addr
    FROM outbox.history h
    JOIN outbox.events e ON e.seq = h.event_seq
    JOIN outbox.endpoint_names n ON n.endpoint = h.endpoint
    WHERE h.is_attempt;
COMMENT ON VIEW outbox.attempts IS 'One row per HTTP request';
COMMENT ON COLUMN outbox.attempts.event_id IS 'events.id';
COMMENT ON COLUMN outbox.attempts.endpoint_id IS 'endpoints.id';
COMMENT ON COLUMN outbox.attempts.attempt IS 'Number of the request for this delivery, from 1';
COMMENT ON COLUMN outbox.attempts.started_at IS 'When it started';
COMMENT ON COLUMN outbox.attempts.duration_ms IS 'How long it took, in milliseconds';
COMMENT ON COLUMN outbox.attempts.outcome IS
    'success, http_2xx, http_3xx, http_4xx, http_410, http_429, http_5xx, timeout_connect, timeout_response, dns, tcp, tls, protocol, blocked, interrupted';
COMMENT ON COLUMN outbox.attempts.http_status IS 'Status of the reply; null: no reply';
COMMENT ON COLUMN outbox.attempts.response_headers IS 'Headers of the reply, 4 KiB at most';
COMMENT ON COLUMN outbox.attempts.response_body IS 'First bytes of the body of the reply, 4 KiB at most; not for outbox_reader';
COMMENT ON COLUMN outbox.attempts.error IS 'What went wrong';
COMMENT ON COLUMN outbox.attempts.remote_addr IS 'Address and port that answered';

CREATE VIEW outbox.endpoint_health AS
    SELECT p.id AS endpoint_id, p.name, p.state, p.state_reason,
           coalesce(m.delivered, 0)::bigint AS delivered_1h, coalesce(m.failed, 0)::bigint AS failed_1h,
           (m.delivered / nullif(m.delivered + m.failed, 0))::double precision AS success_ratio_1h,
           w.pending,
           CASE WHEN w.oldest IS NOT NULL
               THEN greatest(extract(epoch FROM clock_timestamp() - w.oldest), 0)::double precision
           END AS oldest_pending_seconds,
           m.last_success_at, m.last_failure_at
    FROM outbox.endpoints p
    CROSS JOIN LATERAL (
        SELECT sum(delivered) FILTER (WHERE minute > now() - interval '1 hour') AS delivered,
               sum(failed) FILTER (WHERE minute > now() - interval '1 hour') AS failed,
               max(last_success_at) AS last_success_at, max(last_failure_at) AS last_failure_at
        FROM outbox.endpoint_minutes WHERE endpoint = p.endpoint
    ) m
    CROSS JOIN LATERAL (
        SELECT count(*) AS pending, min(created_at) AS oldest FROM outbox.work WHERE endpoint = p.endpoint
    ) w;
COMMENT ON VIEW outbox.endpoint_health IS 'One row per endpoint: how the last hour went and what waits';
COMMENT ON COLUMN outbox.endpoint_health.endpoint_id IS 'endpoints.id';
COMMENT ON COLUMN outbox.endpoint_health.name IS 'endpoints.name';
COMMENT ON COLUMN outbox.endpoint_health.state IS 'endpoints.state';
COMMENT ON COLUMN outbox.endpoint_health.state_reason IS 'endpoints.state_reason';
COMMENT ON COLUMN outbox.endpoint_health.delivered_1h IS 'Successful attempts in the last hour, to the minute';
COMMENT ON COLUMN outbox.endpoint_health.failed_1h IS 'Failed attempts in the last hour, to the minute';
COMMENT ON COLUMN outbox.endpoint_health.success_ratio_1h IS 'Successful of all attempts, 0 to 1; null: none';
COMMENT ON COLUMN outbox.endpoint_health.pending IS 'Deliveries that are not finished';
COMMENT ON COLUMN outbox.endpoint_health.oldest_pending_seconds IS 'Age of the oldest of them; null: none';
COMMENT ON COLUMN outbox.endpoint_health.last_success_at IS 'Last successful attempt';
COMMENT ON COLUMN outbox.endpoint_health.last_failure_at IS 'Last failed attempt';

CREATE VIEW outbox.public_keys AS
    SELECT p.id AS endpoint_id, p.name AS endpoint_name, p.tenant, s.public_key, s.created_at, s.expires_at
    FROM outbox.signing_secrets s JOIN outbox.endpoints p ON p.endpoint = s.endpoint
    WHERE s.public_key IS NOT NULL;
COMMENT ON VIEW outbox.public_keys IS 'One row per endpoint and Ed25519 key that signs for it, its tenant''s included';
COMMENT ON COLUMN outbox.public_keys.endpoint_id IS 'endpoints.id';
COMMENT ON COLUMN outbox.public_keys.endpoint_name IS 'endpoints.name';
COMMENT ON COLUMN outbox.public_keys.tenant IS 'endpoints.tenant';
COMMENT ON COLUMN outbox.public_keys.public_key IS 'What receivers verify with: whpk_...';
COMMENT ON COLUMN outbox.public_keys.created_at IS 'When the key became active';
COMMENT ON COLUMN outbox.public_keys.expires_at IS 'When it stops signing; null: never';

GRANT SELECT ON outbox.deliveries, outbox.attempts, outbox.endpoint_health, outbox.endpoint_names, outbox.public_keys
    TO outbox_admin;
GRANT SELECT ON outbox.deliveries, outbox.endpoint_health, outbox.endpoint_names, outbox.public_keys TO outbox_reader;
-- Replies can hold anything a receiver chose to write, so their bodies need the admin role.
GRANT SELECT (event_id, endpoint_id, attempt, started_at, duration_ms, outcome, http_status, response_headers, error,
              remote_addr)
    ON outbox.attempts TO outbox_reader;

INSERT INTO outbox.migrations (version, name) VALUES (6, 'views');
