-- The catalogue of event types, the quarantine of events that do not match it or cannot be read, and what is held after
-- a backup was restored.

CREATE TABLE outbox.event_types (
    type        text PRIMARY KEY,
    description text,
    schema      json,
    example     json,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT event_types_type_name CHECK (type ~ '^[A-Za-z0-9._-]{1,128}$'),
    CONSTRAINT event_types_description_size CHECK (length(description) BETWEEN 1 AND 1000),
    CONSTRAINT event_types_schema_size CHECK (octet_length(schema::text) <= 262144),
    -- An example is sent as a test event, so what no event may hold is no example.
    CONSTRAINT event_types_example_size CHECK (octet_length(example::text) <= 1048576)
);
COMMENT ON TABLE outbox.event_types IS 'The catalogue: what events of a type mean and hold; optional, types need not be in it';
COMMENT ON COLUMN outbox.event_types.type IS 'events.type: 1 to 128 of A-Z a-z 0-9 . _ -';
COMMENT ON COLUMN outbox.event_types.description IS 'For people, 1000 characters at most';
COMMENT ON COLUMN outbox.event_types.schema IS
    'JSON Schema of the payload, 256 KiB at most; what becomes of others is for events.validate to say; null: anything goes';
COMMENT ON COLUMN outbox.event_types.example IS 'A payload, sent byte for byte by outbox.send_test; 1 MiB at most';
COMMENT ON COLUMN outbox.event_types.created_at IS 'When it was added';
COMMENT ON COLUMN outbox.event_types.updated_at IS 'When it was last changed';

CREATE FUNCTION outbox.before_event_type_change() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION outbox.before_event_type_change() IS 'Notes when an event type was changed';
CREATE TRIGGER before_change BEFORE UPDATE ON outbox.event_types
    FOR EACH ROW EXECUTE FUNCTION outbox.before_event_type_change();
-- The revision of the endpoints counts these changes too: fan-out reads it in the snapshot of the
-- events, so an event is never checked against a schema older than itself.
CREATE TRIGGER bump_revision BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON outbox.event_types
    FOR EACH STATEMENT EXECUTE FUNCTION outbox.bump_endpoint_revision();

CREATE TABLE outbox.quarantine (
    event_seq      bigint PRIMARY KEY,
    reason         text NOT NULL,
    quarantined_at timestamptz NOT NULL DEFAULT now(),
    released_at    timestamptz,
    discarded_at   timestamptz,
    CONSTRAINT quarantine_ends_once CHECK (released_at IS NULL OR discarded_at IS NULL)
);
COMMENT ON TABLE outbox.quarantine IS
    'Events that did not match the schema of their type or cannot be read, and what was decided about them';
COMMENT ON COLUMN outbox.quarantine.event_seq IS 'events.seq';
COMMENT ON COLUMN outbox.quarantine.reason IS
    'Where the payload does not match, and what is expected there; or what cannot be read; no value of it';
COMMENT ON COLUMN outbox.quarantine.quarantined_at IS 'When it was held back';
COMMENT ON COLUMN outbox.quarantine.released_at IS 'When somebody had it delivered after all';
COMMENT ON COLUMN outbox.quarantine.discarded_at IS 'When somebody decided that it is not to be delivered';
CREATE INDEX quarantine_held ON outbox.quarantine (event_seq) WHERE released_at IS NULL AND discarded_at IS NULL;

CREATE VIEW outbox.quarantined_events AS
    SELECT e.id AS event_id, e.type AS event_type, e.tenant, q.reason, q.quarantined_at
    FROM outbox.quarantine q JOIN outbox.events e ON e.seq = q.event_seq
    WHERE q.released_at IS NULL AND q.discarded_at IS NULL;
COMMENT ON VIEW outbox.quarantined_events IS 'One row per event that is held back until it is released or discarded';
COMMENT ON COLUMN outbox.quarantined_events.event_id IS 'events.id';
COMMENT ON COLUMN outbox.quarantined_events.event_type IS 'events.type';
COMMENT ON COLUMN outbox.quarantined_events.tenant IS 'events.tenant';
COMMENT ON COLUMN outbox.quarantined_events.reason IS
    'Where the payload does not match, and what is expected there; or what cannot be read';
COMMENT ON COLUMN outbox.quarantined_events.quarantined_at IS 'When it was held back';

CREATE FUNCTION outbox.release(event text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    which bigint := outbox.find_event(release.event);
BEGIN
    UPDATE outbox.quarantine q SET released_at = clock_timestamp()
    WHERE q.event_seq = which AND q.released_at IS NULL AND q.discarded_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the event % is not in quarantine', quote_literal(release.event)
            USING ERRCODE = 'no_data_found', HINT = 'SELECT event_id FROM outbox.quarantined_events lists what is.';
    END IF;
    -- Its row in quarantine tells fan-out not to hold it back again.
    INSERT INTO outbox.queue (seq, key) SELECT e.seq, e.key FROM outbox.events e WHERE e.seq = which
    ON CONFLICT (seq) DO NOTHING;
END
$$;
COMMENT ON FUNCTION outbox.release(text) IS 'Delivers an event in quarantine after all, as it is';

CREATE FUNCTION outbox.discard(event text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    UPDATE outbox.quarantine q SET discarded_at = clock_timestamp()
    WHERE q.event_seq = outbox.find_event(discard.event) AND q.released_at IS NULL AND q.discarded_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the event % is not in quarantine', quote_literal(discard.event)
            USING ERRCODE = 'no_data_found', HINT = 'SELECT event_id FROM outbox.quarantined_events lists what is.';
    END IF;
END
$$;
COMMENT ON FUNCTION outbox.discard(text) IS
    'Ends the quarantine of an event without delivering it; it is kept as long as any other';

-- What waited in a backup when it was taken was delivered long ago, as a rule. It is held until somebody decides:
-- deliveries by a due_at that never comes, beyond any that events_deliver_after_range allows, and events that nobody
-- had fanned out in quarantine.
CREATE VIEW outbox.held AS
    SELECT h.held_at, h.held_reason AS reason,
           (SELECT count(*) FROM outbox.endpoints p CROSS JOIN (VALUES (false), (true)) AS b (behind)
            CROSS JOIN LATERAL (SELECT FROM outbox.work w
                                WHERE w.endpoint = p.endpoint AND w.behind = b.behind
                                  AND w.due_at >= '9999-01-01 00:00:00Z') w) AS deliveries,
           (SELECT count(*) FROM outbox.quarantined_events q WHERE starts_with(q.reason, 'held: ')) AS events
    FROM outbox.home h WHERE h.held_at IS NOT NULL;
COMMENT ON VIEW outbox.held IS 'One row while deliveries are held since a backup was restored, or since outbox.hold; else none';
COMMENT ON COLUMN outbox.held.held_at IS 'When they were first held';
COMMENT ON COLUMN outbox.held.reason IS 'Why';
COMMENT ON COLUMN outbox.held.deliveries IS 'Deliveries that are held; their next_attempt_at is in the year 9999';
COMMENT ON COLUMN outbox.held.events IS 'Events held in quarantine, because they had not been fanned out';

CREATE FUNCTION outbox.hold(older_than interval, reason text, OUT deliveries bigint, OUT events bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
#variable_conflict use_column
DECLARE
    moment timestamptz := clock_timestamp();
    before timestamptz := moment - hold.older_than;
BEGIN
    -- What is not due yet was not due since the backup either, so it is no repetition.
    WITH waiting AS MATERIALIZED (
        SELECT event_seq, endpoint, attempt, holder FROM outbox.work
        WHERE created_at < before AND due_at <= moment FOR UPDATE
    ), interrupted AS (
        INSERT INTO outbox.history (event_seq, endpoint, attempt, is_attempt, started_at, outcome, error)
        SELECT event_seq, endpoint, attempt, true, moment, 'interrupted', 'the daemon stopped before it recorded the outcome'
        FROM waiting WHERE holder IS NOT NULL
    ), held AS (
        UPDATE outbox.work w SET due_at = '9999-01-01 00:00:00Z', holder = NULL
        FROM waiting o WHERE w.event_seq = o.event_seq AND w.endpoint = o.endpoint
        RETURNING 1
    )
    SELECT count(*) INTO deliveries FROM held;
    WITH waiting AS (
        DELETE FROM outbox.queue q USING outbox.events e
        WHERE e.seq = q.seq AND e.inserted_at < before AND (e.deliver_after > moment) IS NOT TRUE
        RETURNING q.seq
    ), held AS (
        INSERT INTO outbox.quarantine (event_seq, reason) SELECT seq, 'held: ' || hold.reason FROM waiting
        ON CONFLICT (event_seq) DO UPDATE
        SET reason = excluded.reason, quarantined_at = excluded.quarantined_at, released_at = NULL, discarded_at = NULL
        RETURNING 1
    )
    SELECT count(*) INTO events FROM held;
    IF deliveries + events > 0 THEN
        UPDATE outbox.home SET held_at = coalesce(held_at, moment), held_reason = hold.reason;
    END IF;
END
$$;
COMMENT ON FUNCTION outbox.hold(interval, text) IS
    'Holds what is due and was made longer ago, until outbox.release_held or outbox.cancel_held; returns how many deliveries, '
    'and events that were not fanned out';

CREATE FUNCTION outbox.release_held() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    deliveries bigint;
    events bigint;
BEGIN
    UPDATE outbox.work SET due_at = clock_timestamp() WHERE due_at >= '9999-01-01 00:00:00Z';
    GET DIAGNOSTICS deliveries = ROW_COUNT;
    WITH released AS (
        UPDATE outbox.quarantine SET released_at = clock_timestamp()
        WHERE starts_with(reason, 'held: ') AND released_at IS NULL AND discarded_at IS NULL
        RETURNING event_seq
    )
    INSERT INTO outbox.queue (seq, key) SELECT e.seq, e.key FROM released r JOIN outbox.events e ON e.seq = r.event_seq
    ON CONFLICT (seq) DO NOTHING;
    GET DIAGNOSTICS events = ROW_COUNT;
    UPDATE outbox.home SET held_at = NULL, held_reason = NULL;
    RETURN deliveries + events;
END
$$;
COMMENT ON FUNCTION outbox.release_held() IS 'Delivers all that is held; returns how many deliveries and events that was';

CREATE FUNCTION outbox.cancel_held() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    deliveries bigint;
    events bigint;
BEGIN
    SELECT coalesce(sum(outbox.cancel_work(w.endpoint, 'held since a backup was restored, then cancelled', w.event_seq)), 0)
    INTO deliveries FROM outbox.work w WHERE w.due_at >= '9999-01-01 00:00:00Z';
    UPDATE outbox.quarantine SET discarded_at = clock_timestamp()
    WHERE starts_with(reason, 'held: ') AND released_at IS NULL AND discarded_at IS NULL;
    GET DIAGNOSTICS events = ROW_COUNT;
    UPDATE outbox.home SET held_at = NULL, held_reason = NULL;
    RETURN deliveries + events;
END
$$;
COMMENT ON FUNCTION outbox.cancel_held() IS
    'Cancels the deliveries that are held, and discards the events; returns how many of both';

-- A running daemon knows when it last gave a sign of life. One that starts does not, and goes by where it is: the cluster,
-- its timeline and the database, which are others after most ways to restore. A promotion changes the timeline too, but
-- seldom comes so long after the last sign of life.
CREATE FUNCTION outbox.recognise(
    hold_after interval, left_us bigint, OUT deliveries bigint, OUT events bigint, OUT reason text
)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    known outbox.home;
    here outbox.home;
    newest timestamptz;
    silent interval;
BEGIN
    INSERT INTO outbox.home DEFAULT VALUES ON CONFLICT DO NOTHING;
    SELECT * INTO known FROM outbox.home FOR UPDATE;
    here.database := (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
    BEGIN
        here.system_identifier := (SELECT c.system_identifier FROM pg_control_system() c);
        here.timeline := ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint;
    EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR undefined_function THEN
        -- What a server does not tell is no difference.
        NULL;
    END;
    newest := greatest(known.seen_at, (SELECT max(i.seen_at) FROM outbox.instances i));
    silent := date_trunc('second', clock_timestamp() - newest);
    IF (silent > hold_after) IS NOT TRUE THEN
        reason := NULL;
    ELSIF left_us IS NOT NULL THEN
        IF newest < timestamptz 'epoch' + left_us * interval '1 microsecond' - hold_after THEN
            reason := format('the database is an older state of itself: it last saw a daemon %s ago', silent);
        END IF;
    ELSIF here.system_identifier <> known.system_identifier OR here.timeline <> known.timeline
        OR here.database <> known.database
    THEN
        reason := format('the database was restored: it is not where a daemon last worked, %s ago', silent);
    END IF;
    UPDATE outbox.home h
    SET system_identifier = coalesce(here.system_identifier, h.system_identifier),
        timeline = coalesce(here.timeline, h.timeline), database = here.database, seen_at = clock_timestamp();
    IF reason IS NOT NULL THEN
        SELECT * INTO deliveries, events FROM outbox.hold(hold_after, reason);
    END IF;
END
$$;
COMMENT ON FUNCTION outbox.recognise(interval, bigint) IS
    'Called by a daemon before it registers: where the database turns out to be a restored backup whose last sign of a daemon '
    'is older than hold_after (null: never), holds what is; returns why, and how many deliveries and events';

REVOKE ALL ON FUNCTION outbox.hold(interval, text), outbox.release_held(), outbox.cancel_held(),
    outbox.recognise(interval, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.hold(interval, text), outbox.release_held(), outbox.cancel_held() TO outbox_admin;
GRANT EXECUTE ON FUNCTION outbox.recognise(interval, bigint) TO outbox_daemon;
GRANT SELECT ON outbox.held TO outbox_admin, outbox_daemon, outbox_reader;

REVOKE ALL ON FUNCTION outbox.before_event_type_change(), outbox.release(text), outbox.discard(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.release(text), outbox.discard(text) TO outbox_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox.event_types TO outbox_admin;
GRANT SELECT ON outbox.event_types TO outbox_daemon, outbox_reader;
GRANT SELECT, INSERT, UPDATE (reason, quarantined_at, released_at, discarded_at), DELETE
    ON outbox.quarantine TO outbox_daemon;
GRANT SELECT ON outbox.quarantine TO outbox_admin;
GRANT SELECT ON outbox.quarantined_events TO outbox_admin, outbox_daemon, outbox_reader;

INSERT INTO outbox.migrations (version, name) VALUES (7, 'event_types');
