-- What the daemon works on: unfinished deliveries, and the history of attempts.

-- due_at is the state machine: a row may be claimed when due_at has passed; a claim moves it ahead
-- by the lease and notes the holder; a retry moves it to its time and clears the holder; the end
-- of the delivery deletes the row. Beside it there is behind: of an ordered endpoint and a key, one delivery at most
-- is not behind, and the others are claimed by nobody until it has ended.
CREATE TABLE outbox.work (
    event_seq    bigint NOT NULL,
    endpoint     int NOT NULL,
    due_at       timestamptz NOT NULL,
    attempt      int NOT NULL DEFAULT 0,
    failures     int NOT NULL DEFAULT 0,
    holder       int,
    created_at   timestamptz NOT NULL,
    last_outcome text,
    last_status  smallint,
    key          text,
    behind       boolean NOT NULL DEFAULT false,
    PRIMARY KEY (event_seq, endpoint),
    CONSTRAINT work_behind_waits CHECK (NOT behind OR (key IS NOT NULL AND holder IS NULL)),
    CONSTRAINT work_due_at_finite CHECK (isfinite(due_at))
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000,
        autovacuum_analyze_scale_factor = 0.2);
CREATE INDEX work_due ON outbox.work (endpoint, behind, due_at);
CREATE INDEX work_order ON outbox.work (key, endpoint, behind, event_seq) WHERE key IS NOT NULL;
COMMENT ON TABLE outbox.work IS 'Deliveries that are not finished; small, and empty when all is delivered';
COMMENT ON COLUMN outbox.work.event_seq IS 'events.seq';
COMMENT ON COLUMN outbox.work.endpoint IS 'endpoints.endpoint';
COMMENT ON COLUMN outbox.work.due_at IS 'When it may be claimed: next attempt, or end of the lease';
COMMENT ON COLUMN outbox.work.attempt IS 'Requests claimed so far; with holder, the fence of every later write';
COMMENT ON COLUMN outbox.work.failures IS 'Failed attempts so far; the position in the retry schedule';
COMMENT ON COLUMN outbox.work.holder IS 'instances.id of the daemon that has it leased; null: nobody';
COMMENT ON COLUMN outbox.work.created_at IS 'When the event was fanned out, or replayed';
COMMENT ON COLUMN outbox.work.last_outcome IS 'Outcome of the last attempt; null: none yet';
COMMENT ON COLUMN outbox.work.last_status IS 'HTTP status of the last attempt; null: none';
COMMENT ON COLUMN outbox.work.key IS 'events.key, where the endpoint is ordered; null: not ordered';
COMMENT ON COLUMN outbox.work.behind IS 'Waits for an earlier event of its key to end';

CREATE TABLE outbox.history (
    event_seq        bigint NOT NULL,
    endpoint         int NOT NULL,
    attempt          int NOT NULL,
    is_attempt       boolean NOT NULL,
    started_at       timestamptz NOT NULL,
    duration_ms      int,
    outcome          text,
    http_status      smallint,
    response_headers json,
    response_body    bytea,
    error            text,
    remote_addr      text,
    result           text,
    created_at       timestamptz,
    CONSTRAINT history_result_known CHECK (result IN ('delivered', 'exhausted', 'cancelled'))
) PARTITION BY RANGE (started_at);
CREATE INDEX history_event ON outbox.history (event_seq, endpoint);
-- So that what was given up can be counted; it costs nothing where deliveries succeed.
CREATE INDEX history_exhausted ON outbox.history (endpoint) WHERE result = 'exhausted';
COMMENT ON TABLE outbox.history IS 'Attempts, and the ends of deliveries; partitioned by day (UTC), appended to only';
COMMENT ON COLUMN outbox.history.event_seq IS 'events.seq';
COMMENT ON COLUMN outbox.history.endpoint IS 'endpoints.endpoint';
COMMENT ON COLUMN outbox.history.attempt IS 'Number of the request, from 1; of the last one where this row is no attempt';
COMMENT ON COLUMN outbox.history.is_attempt IS 'False where a delivery ended without a request, as a cancelled one does';
COMMENT ON COLUMN outbox.history.started_at IS 'Start of the request';
COMMENT ON COLUMN outbox.history.duration_ms IS 'Length of the request in milliseconds; null: unknown or no request';
COMMENT ON COLUMN outbox.history.outcome IS 'success, http_4xx, timeout_response, ...: see outbox.attempts';
COMMENT ON COLUMN outbox.history.http_status IS 'Status of the reply; null: no reply';
COMMENT ON COLUMN outbox.history.response_headers IS 'Headers of the reply, a JSON object; 4 KiB at most';
COMMENT ON COLUMN outbox.history.response_body IS 'First bytes of the reply''s body; 4 KiB at most';
COMMENT ON COLUMN outbox.history.error IS 'What went wrong, for people';
COMMENT ON COLUMN outbox.history.remote_addr IS 'Address and port that answered';
COMMENT ON COLUMN outbox.history.result IS 'How the delivery ended, where this row ended it';
COMMENT ON COLUMN outbox.history.created_at IS 'When the delivery was created, where this row ended it';

-- Catches rows for which no day was prepared, so that recording an attempt can never fail for it.
CREATE TABLE outbox.history_default (LIKE outbox.history INCLUDING COMMENTS INCLUDING CONSTRAINTS);
COMMENT ON TABLE outbox.history_default IS 'History of days for which no partition was prepared';
ALTER TABLE outbox.history ATTACH PARTITION outbox.history_default DEFAULT;

CREATE TABLE outbox.endpoint_minutes (
    endpoint        int NOT NULL,
    slot            smallint NOT NULL,
    minute          timestamptz NOT NULL,
    delivered       bigint NOT NULL,
    failed          bigint NOT NULL,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    PRIMARY KEY (endpoint, slot)
) WITH (fillfactor = 50);
COMMENT ON TABLE outbox.endpoint_minutes IS
    'Attempts per endpoint and minute: a ring of 64 minutes, so that health costs the same at any rate';
COMMENT ON COLUMN outbox.endpoint_minutes.endpoint IS 'endpoints.endpoint';
COMMENT ON COLUMN outbox.endpoint_minutes.slot IS 'Minute since the epoch, modulo 64';
COMMENT ON COLUMN outbox.endpoint_minutes.minute IS 'The minute that the counts are of';
COMMENT ON COLUMN outbox.endpoint_minutes.delivered IS 'Successful attempts in that minute';
COMMENT ON COLUMN outbox.endpoint_minutes.failed IS 'Failed attempts in that minute';
COMMENT ON COLUMN outbox.endpoint_minutes.last_success_at IS 'Last success when this slot was written';
COMMENT ON COLUMN outbox.endpoint_minutes.last_failure_at IS 'Last failure when this slot was written';

CREATE TABLE outbox.endpoint_failures (
    endpoint int PRIMARY KEY,
    since    timestamptz NOT NULL
);
COMMENT ON TABLE outbox.endpoint_failures IS 'Endpoints that have taken nothing since some time, though it was tried';
COMMENT ON COLUMN outbox.endpoint_failures.endpoint IS 'endpoints.endpoint';
COMMENT ON COLUMN outbox.endpoint_failures.since IS 'First failure after the last success, to the minute';

CREATE TABLE outbox.removed_endpoints (
    endpoint   int PRIMARY KEY,
    id         text NOT NULL,
    name       text NOT NULL,
    removed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE outbox.removed_endpoints IS 'Endpoints that are gone, so that their history stays readable';
COMMENT ON COLUMN outbox.removed_endpoints.endpoint IS 'endpoints.endpoint as it was';
COMMENT ON COLUMN outbox.removed_endpoints.id IS 'endpoints.id as it was';
COMMENT ON COLUMN outbox.removed_endpoints.name IS 'endpoints.name as it was';
COMMENT ON COLUMN outbox.removed_endpoints.removed_at IS 'When it was removed';

CREATE TABLE outbox.instances (
    id         int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host       text NOT NULL,
    pid        int NOT NULL,
    version    text NOT NULL,
    made_for   int NOT NULL,
    locked     boolean NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    dead_at    timestamptz
);
COMMENT ON TABLE outbox.instances IS 'Running daemons; each holds a session advisory lock on its id';
COMMENT ON COLUMN outbox.instances.id IS 'Number of the daemon''s session, the holder of its leases';
COMMENT ON COLUMN outbox.instances.host IS 'Host it runs on';
COMMENT ON COLUMN outbox.instances.pid IS 'Process id there';
COMMENT ON COLUMN outbox.instances.version IS 'Version of outboxd';
COMMENT ON COLUMN outbox.instances.made_for IS 'Version of the schema that it was made for';
COMMENT ON COLUMN outbox.instances.locked IS 'Whether a free advisory lock proves its death; false behind a pooler';
COMMENT ON COLUMN outbox.instances.started_at IS 'When it registered';
COMMENT ON COLUMN outbox.instances.seen_at IS 'Its last sign of life';
COMMENT ON COLUMN outbox.instances.dead_at IS 'When another daemon found it dead; its leases were released then';

CREATE TABLE outbox.home (
    one               boolean PRIMARY KEY DEFAULT true,
    system_identifier bigint,
    timeline          bigint,
    database          oid,
    seen_at           timestamptz,
    held_at           timestamptz,
    held_reason       text,
    CONSTRAINT home_is_one CHECK (one)
);
COMMENT ON TABLE outbox.home IS
    'One row: where daemons worked last, by which they know a restored backup; and whether what waited in it is held';
COMMENT ON COLUMN outbox.home.one IS 'True';
COMMENT ON COLUMN outbox.home.system_identifier IS 'Of the cluster; null: not known, as where the server does not tell';
COMMENT ON COLUMN outbox.home.timeline IS 'Of the cluster; null: not known';
COMMENT ON COLUMN outbox.home.database IS 'Number of the database in its cluster';
COMMENT ON COLUMN outbox.home.seen_at IS 'When a daemon last registered or left; the others are in instances.seen_at';
COMMENT ON COLUMN outbox.home.held_at IS 'When deliveries were held; null: none are';
COMMENT ON COLUMN outbox.home.held_reason IS 'Why';
INSERT INTO outbox.home DEFAULT VALUES;

-- What an old daemon needs is not taken away under it, whoever applies the migration. One that registers in this
-- moment waits for the lock, and then finds that the schema is not one it was made for.
CREATE FUNCTION outbox.before_migration() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    running text;
BEGIN
    LOCK TABLE outbox.instances IN SHARE ROW EXCLUSIVE MODE;
    SELECT string_agg(format('outboxd %s on %s, process %s', version, host, pid), '; ' ORDER BY id) INTO running
    FROM outbox.instances
    WHERE made_for < NEW.oldest_daemon AND dead_at IS NULL AND seen_at > clock_timestamp() - interval '60 seconds';
    IF running IS NOT NULL THEN
        RAISE EXCEPTION 'migration % takes away what a running daemon needs: %', NEW.version, running
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Upgrade or stop it first. One that was killed is forgotten after a minute.';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION outbox.before_migration() IS 'Refuses a migration that a running daemon does not work with';
REVOKE ALL ON FUNCTION outbox.before_migration() FROM PUBLIC;
CREATE TRIGGER before_migration BEFORE INSERT ON outbox.migrations
    FOR EACH ROW WHEN (NEW.oldest_daemon > 0) EXECUTE FUNCTION outbox.before_migration();

-- Ends every unfinished delivery of one endpoint. Requests on their way are closed as interrupted:
-- their daemon finds the row gone and changes nothing.
CREATE FUNCTION outbox.cancel_work(which int, reason text, only_event bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE sql SET search_path = pg_catalog, pg_temp AS
$$
    WITH gone AS (
        DELETE FROM outbox.work
        WHERE endpoint = which AND (only_event IS NULL OR event_seq = only_event)
        RETURNING event_seq, endpoint, attempt, holder, created_at, last_outcome, last_status
    ), ended AS (
        INSERT INTO outbox.history (event_seq, endpoint, attempt, is_attempt, started_at, outcome, http_status,
                                    error, result, created_at)
        SELECT event_seq, endpoint, attempt, holder IS NOT NULL, clock_timestamp(),
               CASE WHEN holder IS NULL THEN last_outcome ELSE 'interrupted' END,
               CASE WHEN holder IS NULL THEN last_status END, reason, 'cancelled', created_at
        FROM gone
        RETURNING 1
    )
    SELECT count(*) FROM ended
$$;
COMMENT ON FUNCTION outbox.cancel_work(int, text, bigint) IS 'Cancels the unfinished deliveries of an endpoint, or one';
REVOKE ALL ON FUNCTION outbox.cancel_work(int, text, bigint) FROM PUBLIC;

CREATE FUNCTION outbox.before_endpoint_delete() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    PERFORM outbox.cancel_work(OLD.endpoint, 'endpoint removed');
    INSERT INTO outbox.removed_endpoints (endpoint, id, name) VALUES (OLD.endpoint, OLD.id, OLD.name);
    DELETE FROM outbox.endpoint_minutes WHERE endpoint = OLD.endpoint;
    DELETE FROM outbox.endpoint_failures WHERE endpoint = OLD.endpoint;
    RETURN OLD;
END
$$;
COMMENT ON FUNCTION outbox.before_endpoint_delete() IS 'Cancels what an endpoint was owed and keeps its name for history';
REVOKE ALL ON FUNCTION outbox.before_endpoint_delete() FROM PUBLIC;
CREATE TRIGGER before_delete BEFORE DELETE ON outbox.endpoints
    FOR EACH ROW EXECUTE FUNCTION outbox.before_endpoint_delete();

-- The next three are called by the daemon, which has no right to create, drop or empty tables itself. Those who
-- record attempts queue behind a lock that waits, and behind one that is held: so lock timeouts are short, and what
-- takes the lock of the whole history changes one day in a transaction, and does nothing else in it.
CREATE FUNCTION outbox.prepare_history(days_ahead int DEFAULT 7) RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC' SET lock_timeout = '100ms' AS
$$
DECLARE
    today date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    of_day date;
    part text;
    made int := 0;
BEGIN
    -- One daemon at a time; the others find the work done.
    IF NOT pg_try_advisory_xact_lock(hashtext('outboxd'), 0) THEN
        RETURN 0;
    END IF;
    FOR of_day IN SELECT today + n FROM generate_series(0, days_ahead) AS n LOOP
        part := 'history_' || to_char(of_day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('outbox.' || part) IS NOT NULL;
        -- Rows that already fell into the default partition keep that day there.
        CONTINUE WHEN EXISTS (SELECT FROM outbox.history_default
                              WHERE started_at >= of_day AND started_at < of_day + 1);
        BEGIN
            EXECUTE format('CREATE TABLE outbox.%I (LIKE outbox.history INCLUDING COMMENTS INCLUDING CONSTRAINTS)', part);
            EXECUTE format('COMMENT ON TABLE outbox.%I IS %L', part, 'History of ' || of_day || ' (UTC)');
            EXECUTE format('ALTER TABLE outbox.history ATTACH PARTITION outbox.%I FOR VALUES FROM (%L) TO (%L)',
                           part, of_day, of_day + 1);
            made := made + 1;
        EXCEPTION WHEN lock_not_available THEN
            -- Somebody reads it; there are days in hand.
            EXIT;
        END;
    END LOOP;
    RETURN made;
END
$$;
COMMENT ON FUNCTION outbox.prepare_history(int) IS
    'Creates the partitions of history for today and so many days ahead; returns how many it made';
REVOKE ALL ON FUNCTION outbox.prepare_history(int) FROM PUBLIC;

CREATE FUNCTION outbox.drop_history(keep interval) RETURNS int
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC' SET lock_timeout = '100ms' AS
$$
DECLARE
    part text;
    gone int;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('outboxd'), 0) THEN
        RETURN 0;
    END IF;
    SELECT c.relname INTO part FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'outbox.history'::regclass AND c.relname ~ '^history_[0-9]{8}$'
      AND to_date(right(c.relname, 8), 'YYYYMMDD') + 1 <= (clock_timestamp() - keep)::date
    ORDER BY c.relname LIMIT 1;
    IF part IS NOT NULL THEN
        EXECUTE format('DROP TABLE outbox.%I', part);
        RETURN 1;
    END IF;
    DELETE FROM outbox.history_default WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM outbox.history_default WHERE started_at < clock_timestamp() - keep LIMIT 5000));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
EXCEPTION WHEN lock_not_available THEN
    -- Somebody reads it: later.
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION outbox.drop_history(interval) IS
    'Drops the oldest day of history that ended longer ago than keep, or else rows that no day was prepared for; '
    'returns how many, null when somebody reads it. To be called until it returns 0';
REVOKE ALL ON FUNCTION outbox.drop_history(interval) FROM PUBLIC;

CREATE FUNCTION outbox.empty_history() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC' SET lock_timeout = '100ms' AS
$$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('outboxd'), 0) THEN
        RETURN false;
    END IF;
    EXECUTE format('TRUNCATE outbox.%I', 'history_' || to_char(clock_timestamp(), 'YYYYMMDD'));
    RETURN true;
EXCEPTION WHEN lock_not_available OR undefined_table THEN
    RETURN false;
END
$$;
COMMENT ON FUNCTION outbox.empty_history() IS
    'Empties the history of today, the last resort where the disk has a limit; returns whether it did';
REVOKE ALL ON FUNCTION outbox.empty_history() FROM PUBLIC;
SELECT outbox.prepare_history();

GRANT SELECT, INSERT, UPDATE, DELETE ON outbox.work, outbox.instances TO outbox_daemon;
GRANT SELECT, INSERT, UPDATE ON outbox.endpoint_minutes TO outbox_daemon;
GRANT INSERT, SELECT (endpoint, result) ON outbox.history TO outbox_daemon;
GRANT SELECT, INSERT, DELETE ON outbox.endpoint_failures TO outbox_daemon;
GRANT UPDATE (seen_at) ON outbox.home TO outbox_daemon;
GRANT EXECUTE ON FUNCTION outbox.prepare_history(int), outbox.drop_history(interval), outbox.empty_history(),
    outbox.cancel_work(int, text, bigint) TO outbox_daemon;
GRANT SELECT ON outbox.instances TO outbox_admin, outbox_reader;
-- What stats and top look at, without the cost of the views.
GRANT SELECT ON outbox.work, outbox.endpoint_minutes TO outbox_admin;

INSERT INTO outbox.migrations (version, name) VALUES (4, 'deliveries');
