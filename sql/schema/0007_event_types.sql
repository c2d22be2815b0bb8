-- The catalogue of event types, and the quarantine of events that do not match it or cannot be read.

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

REVOKE ALL ON FUNCTION outbox.before_event_type_change(), outbox.release(text), outbox.discard(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.release(text), outbox.discard(text) TO outbox_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox.event_types TO outbox_admin;
GRANT SELECT ON outbox.event_types TO outbox_daemon, outbox_reader;
GRANT SELECT, INSERT, UPDATE (reason, quarantined_at, released_at, discarded_at), DELETE
    ON outbox.quarantine TO outbox_daemon;
GRANT SELECT ON outbox.quarantine TO outbox_admin;
GRANT SELECT ON outbox.quarantined_events TO outbox_admin, outbox_daemon, outbox_reader;

INSERT INTO outbox.migrations (version, name) VALUES (7, 'event_types');
