-- What the application writes: events, and the queue of those that wait to be fanned out.

CREATE TABLE outbox.events (
    seq           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- 48 bits of milliseconds, then 56 random ones: inserts stay at the right edge of the index.
    id            text NOT NULL DEFAULT 'evt_'
                      || lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
                      || substr(replace(gen_random_uuid()::text, '-', ''), 19, 14),
    type          text NOT NULL,
    payload       json NOT NULL,
    tenant        text,
    live          boolean NOT NULL DEFAULT true,
    key           text,
    deliver_after timestamptz,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    target        int,
    inserted_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT events_id_key UNIQUE (id),
    -- Each insert pays for these: a counted repetition, {1,128}, takes ten times as long as a plus.
    CONSTRAINT events_id_printable CHECK (id ~ '^[!-~]+$' AND length(id) <= 255),
    CONSTRAINT events_type_name CHECK (type ~ '^[A-Za-z0-9._-]+$' AND length(type) <= 128),
    CONSTRAINT events_payload_size CHECK (octet_length(payload::text) <= 1048576),
    CONSTRAINT events_tenant_size CHECK (length(tenant) BETWEEN 1 AND 256),
    CONSTRAINT events_key_size CHECK (length(key) BETWEEN 1 AND 256),
    -- Years that RFC 3339 can write, and whose microseconds fit where they are counted.
    CONSTRAINT events_deliver_after_range
        CHECK (deliver_after >= '1970-01-01 00:00:00Z' AND deliver_after < '9999-01-01 00:00:00Z'),
    CONSTRAINT events_created_at_range
        CHECK (created_at >= '1970-01-01 00:00:00Z' AND created_at < '9999-01-01 00:00:00Z')
-- What retention deletes in small batches is to be room again before much more has come.
) WITH (autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON TABLE outbox.events IS 'One row per event the application inserted; never updated afterwards';
COMMENT ON COLUMN outbox.events.seq IS 'Insertion number; the daemon''s key';
COMMENT ON COLUMN outbox.events.id IS 'Public id, sent as webhook-id on every attempt; unique while kept';
COMMENT ON COLUMN outbox.events.type IS 'Event type, such as conversion.created: 1 to 128 of A-Z a-z 0-9 . _ -';
COMMENT ON COLUMN outbox.events.payload IS 'JSON text, sent byte for byte as inserted; 1 MiB at most';
COMMENT ON COLUMN outbox.events.tenant IS 'Customer of the application that the event belongs to; null: none';
COMMENT ON COLUMN outbox.events.live IS 'False for test events, which only endpoints that take test events receive';
COMMENT ON COLUMN outbox.events.key IS
    'Ordering key: endpoints that are ordered get the events of one key in the order of their insertion, where one was '
    'committed before the other was inserted; transactions that overlap have no order. Null: not ordered';
COMMENT ON COLUMN outbox.events.deliver_after IS 'Not sent before this time; null or past: at once';
COMMENT ON COLUMN outbox.events.created_at IS 'When the event happened; by default when it was inserted';
COMMENT ON COLUMN outbox.events.inserted_at IS 'When it was inserted; its retention counts from here';
COMMENT ON COLUMN outbox.events.target IS
    'Number of the only endpoint to deliver to (test events); null: every endpoint that matches';

-- Narrow on purpose: the application's transaction pays for one index entry and no payload copy.
CREATE TABLE outbox.queue (
    seq bigint PRIMARY KEY,
    key text
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);
COMMENT ON TABLE outbox.queue IS 'Events not yet fanned out; a row lives from the insert to the fan-out';
COMMENT ON COLUMN outbox.queue.seq IS 'events.seq; no foreign key, the insert must not lock anything';
COMMENT ON COLUMN outbox.queue.key IS 'events.key: later events of the key wait for those that are still here';
CREATE INDEX queue_key ON outbox.queue (key, seq) WHERE key IS NOT NULL;

-- With the rights of its owner, and without a search_path of its own, which each insert would pay for:
-- it names nothing that is looked up along one.
CREATE FUNCTION outbox.enqueue() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
$$
BEGIN
    INSERT INTO outbox.queue (seq, key) VALUES (NEW.seq, NEW.key);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION outbox.enqueue() IS 'Puts an inserted event into the queue';
REVOKE ALL ON FUNCTION outbox.enqueue() FROM PUBLIC;

-- For each row: for the one row that most transactions insert, a table of all rows costs more.
CREATE TRIGGER enqueue AFTER INSERT ON outbox.events
    FOR EACH ROW EXECUTE FUNCTION outbox.enqueue();

CREATE FUNCTION outbox.emit(
    type text, payload json, id text DEFAULT NULL, tenant text DEFAULT NULL, live boolean DEFAULT true,
    key text DEFAULT NULL, deliver_after timestamptz DEFAULT NULL
) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
#variable_conflict use_column
DECLARE
    emitted text;
BEGIN
    IF emit.id IS NULL THEN
        INSERT INTO outbox.events (type, payload, tenant, live, key, deliver_after)
        VALUES (emit.type, emit.payload, emit.tenant, coalesce(emit.live, true), emit.key, emit.deliver_after)
        RETURNING id INTO emitted;
        RETURN emitted;
    END IF;
    INSERT INTO outbox.events (id, type, payload, tenant, live, key, deliver_after)
    VALUES (emit.id, emit.type, emit.payload, emit.tenant, coalesce(emit.live, true), emit.key,
            emit.deliver_after)
    ON CONFLICT (id) DO NOTHING;
    RETURN emit.id;
END
$$;
COMMENT ON FUNCTION outbox.emit(text, json, text, text, boolean, text, timestamptz) IS
    'Inserts an event and returns its id; with an id that exists it changes nothing and returns that id';
REVOKE ALL ON FUNCTION outbox.emit(text, json, text, text, boolean, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.emit(text, json, text, text, boolean, text, timestamptz)
    TO outbox_producer, outbox_admin;

GRANT INSERT (id, type, payload, tenant, live, key, deliver_after, created_at)
    ON outbox.events TO outbox_producer, outbox_admin;
GRANT SELECT ON outbox.events TO outbox_admin;
GRANT SELECT, DELETE ON outbox.events TO outbox_daemon;
GRANT SELECT, UPDATE, DELETE ON outbox.queue TO outbox_daemon;
GRANT SELECT ON outbox.queue TO outbox_admin;

INSERT INTO outbox.migrations (version, name) VALUES (2, 'events');
