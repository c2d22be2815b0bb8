-- What people and applications call: subscribing, pausing, rotating, testing, replaying.
-- Every function takes an endpoint as its id or its name and an event as its id.

CREATE FUNCTION outbox.find_endpoint(wanted text) RETURNS outbox.endpoints
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    found_row outbox.endpoints;
BEGIN
    SELECT * INTO found_row FROM outbox.endpoints WHERE id = wanted OR name = wanted ORDER BY id = wanted DESC LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no endpoint %', quote_literal(wanted)
            USING ERRCODE = 'no_data_found', HINT = 'SELECT id, name FROM outbox.endpoints lists them.';
    END IF;
    RETURN found_row;
END
$$;
COMMENT ON FUNCTION outbox.find_endpoint(text) IS 'The endpoint with that id or name; an error when there is none';

CREATE FUNCTION outbox.find_event(wanted text) RETURNS bigint
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    found_seq bigint;
BEGIN
    SELECT seq INTO found_seq FROM outbox.events WHERE id = wanted;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no event %', quote_literal(wanted)
            USING ERRCODE = 'no_data_found', HINT = 'It may be past its retention.';
    END IF;
    RETURN found_seq;
END
$$;
COMMENT ON FUNCTION outbox.find_event(text) IS 'events.seq of the event with that id; an error when there is none';

CREATE FUNCTION outbox.payload_bytes(payload json) RETURNS int
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    RETURN octet_length(payload::text);
EXCEPTION WHEN data_corrupted OR index_corrupted OR data_exception THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION outbox.payload_bytes(json) IS
    'The size of a payload; null where the stored one is damaged, so that one such event hides no others';

CREATE FUNCTION outbox.generate_secret() RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS
$$
    -- 24 bytes of a hash over 366 random bits: a multiple of three needs no base64 padding.
    SELECT 'whsec_' || encode(substr(sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text
        || gen_random_uuid()::text, 'UTF8')), 1, 24), 'base64')
$$;
COMMENT ON FUNCTION outbox.generate_secret() IS 'A new random secret in the form of Standard Webhooks';

CREATE FUNCTION outbox.subscribe(
    url text, events text[] DEFAULT NULL, tenant text DEFAULT NULL, profile text DEFAULT NULL,
    secret text DEFAULT NULL, name text DEFAULT NULL, live boolean DEFAULT NULL, description text DEFAULT NULL,
    active boolean DEFAULT true, headers json DEFAULT NULL, timeout interval DEFAULT NULL, retry text DEFAULT NULL,
    success text DEFAULT NULL, ordered boolean DEFAULT NULL
) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
#variable_conflict use_column
DECLARE
    subscribed text;
BEGIN
    IF subscribe.url IS NULL OR subscribe.url !~* '^https?://[^[:space:]]+$' THEN
        RAISE EXCEPTION 'the URL % is not an http or https URL', quote_nullable(subscribe.url)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write it like https://example.com/hooks';
    END IF;
    -- Two subscriptions of one URL at the same moment must not become two endpoints.
    PERFORM pg_advisory_xact_lock(hashtext('outboxd'),
                                  hashtext(coalesce(subscribe.tenant, '') || ' ' || outbox.url_key(subscribe.url)));
    SELECT e.id INTO subscribed FROM outbox.endpoints e
    WHERE outbox.url_key(e.url) = outbox.url_key(subscribe.url) AND e.tenant IS NOT DISTINCT FROM subscribe.tenant
    ORDER BY e.endpoint LIMIT 1;
    IF FOUND THEN
        UPDATE outbox.endpoints e
        -- What is not given stays as it is.
        SET events = coalesce(subscribe.events, e.events), profile = coalesce(subscribe.profile, e.profile),
            active = coalesce(subscribe.active, true), live = coalesce(subscribe.live, e.live),
            name = coalesce(subscribe.name, e.name),
            description = coalesce(subscribe.description, e.description),
            headers = coalesce(subscribe.headers, e.headers), timeout = coalesce(subscribe.timeout, e.timeout),
            retry = coalesce(subscribe.retry, e.retry), success = coalesce(subscribe.success, e.success),
            ordered = coalesce(subscribe.ordered, e.ordered),
            state = CASE WHEN e.state = 'disabled' THEN 'active' ELSE e.state END,
            state_reason = CASE WHEN e.state = 'disabled' THEN NULL ELSE e.state_reason END
        WHERE e.id = subscribed;
        IF subscribe.secret IS NOT NULL
            AND NOT EXISTS (SELECT FROM outbox.secrets s WHERE s.endpoint_id = subscribed AND s.shown
                            AND s.secret = subscribe.secret AND s.expires_at IS NULL)
        THEN
            DELETE FROM outbox.secrets s WHERE s.endpoint_id = subscribed;
            INSERT INTO outbox.secrets (endpoint_id, secret) VALUES (subscribed, subscribe.secret);
        END IF;
        RETURN subscribed;
    END IF;
    INSERT INTO outbox.endpoints (name, url, events, tenant, profile, live, description, active, headers, timeout,
                                  retry, success, ordered)
    VALUES (subscribe.name, subscribe.url, coalesce(subscribe.events, '{*}'), subscribe.tenant,
            coalesce(subscribe.profile, 'standard'), subscribe.live, subscribe.description,
            coalesce(subscribe.active, true), coalesce(subscribe.headers, '{}'), subscribe.timeout, subscribe.retry,
            subscribe.success, coalesce(subscribe.ordered, false))
    RETURNING id INTO subscribed;
    IF subscribe.secret IS NOT NULL THEN
        INSERT INTO outbox.secrets (endpoint_id, secret) VALUES (subscribed, subscribe.secret);
    ELSIF NOT EXISTS (SELECT FROM outbox.secrets s WHERE s.tenant = subscribe.tenant
                      AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp()))
    THEN
        INSERT INTO outbox.secrets (endpoint_id, secret, shown) VALUES (subscribed, outbox.generate_secret(), false);
    END IF;
    RETURN subscribed;
END
$$;
COMMENT ON FUNCTION outbox.subscribe(text, text[], text, text, text, text, boolean, text, boolean, json, interval, text, text, boolean) IS
    'Creates an endpoint, for every event and of the profile standard unless told; or changes what is given of the one that '
    'this tenant has for the URL; returns its id';

CREATE FUNCTION outbox.unsubscribe(endpoint text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    DELETE FROM outbox.endpoints e WHERE e.id = (outbox.find_endpoint(unsubscribe.endpoint)).id;
END
$$;
COMMENT ON FUNCTION outbox.unsubscribe(text) IS 'Removes an endpoint; its unfinished deliveries are cancelled';

CREATE FUNCTION outbox.pause(endpoint text, reason text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    UPDATE outbox.endpoints e
    SET state = 'paused', state_reason = coalesce(pause.reason, 'paused on request'), auto_paused = false
    WHERE e.id = (outbox.find_endpoint(pause.endpoint)).id;
END
$$;
COMMENT ON FUNCTION outbox.pause(text, text) IS 'Deliveries to the endpoint wait until it is resumed';

CREATE FUNCTION outbox.resume(endpoint text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    UPDATE outbox.endpoints e SET state = 'active', state_reason = NULL, active = true
    WHERE e.id = (outbox.find_endpoint(resume.endpoint)).id;
END
$$;
COMMENT ON FUNCTION outbox.resume(text) IS 'Deliveries to a paused, disabled or invalid endpoint go on';

CREATE FUNCTION outbox.rotate_secret(
    endpoint text, new_secret text DEFAULT NULL, overlap interval DEFAULT '24 hours'
) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    owner outbox.endpoints := outbox.find_endpoint(rotate_secret.endpoint);
    fresh text := coalesce(rotate_secret.new_secret, outbox.generate_secret());
    -- Without an end the old secret would sign for ever.
    old_until timestamptz := clock_timestamp() + coalesce(rotate_secret.overlap, interval '24 hours');
    signs_on boolean := old_until > clock_timestamp();
BEGIN
    IF overlap < interval '0' THEN
        RAISE EXCEPTION 'the overlap % is negative', overlap
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write 0 to end the old secrets at once.';
    END IF;
    DELETE FROM outbox.secrets s
    WHERE s.endpoint_id = owner.id AND (NOT signs_on OR s.expires_at <= clock_timestamp() OR s.secret = fresh);
    -- What has signed so far signs on, be it the tenant's.
    INSERT INTO outbox.secrets (endpoint_id, secret, public_key, created_at, expires_at)
    SELECT owner.id, n.secret, n.public_key, n.created_at, n.expires_at
    FROM outbox.signing_secrets n JOIN outbox.secrets s USING (number)
    WHERE n.endpoint = owner.endpoint AND s.tenant IS NOT NULL AND n.secret <> fresh AND signs_on;
    UPDATE outbox.secrets s
    SET expires_at = least(s.expires_at, old_until),
        shown = s.shown OR s.number IN (SELECT n.number FROM outbox.signing_secrets n WHERE n.endpoint = owner.endpoint)
    WHERE s.endpoint_id = owner.id;
    INSERT INTO outbox.secrets (endpoint_id, secret) VALUES (owner.id, fresh);
    RETURN fresh;
END
$$;
COMMENT ON FUNCTION outbox.rotate_secret(text, text, interval) IS
    'Makes a secret the newest; the others sign too until the overlap (null: 24 hours) ends, and 0 removes them; returns the new '
    'one';

CREATE FUNCTION outbox.set_tenant_secret(
    tenant text, secret text DEFAULT NULL, overlap interval DEFAULT '0'
) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    fresh text := coalesce(set_tenant_secret.secret, outbox.generate_secret());
    -- Without an end the old secret would sign for ever.
    old_until timestamptz := clock_timestamp() + coalesce(set_tenant_secret.overlap, interval '0');
    signs_on boolean := old_until > clock_timestamp();
BEGIN
    IF coalesce(set_tenant_secret.tenant, '') = '' THEN
        RAISE EXCEPTION 'there is no tenant to set the secret of' USING ERRCODE = 'not_null_violation';
    END IF;
    IF overlap < interval '0' THEN
        RAISE EXCEPTION 'the overlap % is negative', overlap
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write 0 to end the old secrets at once.';
    END IF;
    DELETE FROM outbox.secrets s
    WHERE s.tenant = set_tenant_secret.tenant
      AND (NOT signs_on OR s.expires_at <= clock_timestamp() OR s.secret = fresh);
    UPDATE outbox.secrets s SET expires_at = least(s.expires_at, old_until)
    WHERE s.tenant = set_tenant_secret.tenant;
    INSERT INTO outbox.secrets (tenant, secret) VALUES (set_tenant_secret.tenant, fresh);
    RETURN fresh;
END
$$;
COMMENT ON FUNCTION outbox.set_tenant_secret(text, text, interval) IS
    'Makes a secret the one that the tenant''s endpoints share, unless they have their own; the others sign too until the '
    'overlap (null: 0) ends; returns it';

CREATE FUNCTION outbox.remove_tenant_secret(tenant text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    removed bigint;
BEGIN
    DELETE FROM outbox.secrets s WHERE s.tenant = remove_tenant_secret.tenant;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$;
COMMENT ON FUNCTION outbox.remove_tenant_secret(text) IS
    'Removes the secrets of a tenant; its endpoints sign with their own from then on; returns how many';

CREATE FUNCTION outbox.send_test(endpoint text, sample text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    receiver outbox.endpoints := outbox.find_endpoint(send_test.endpoint);
    emitted text;
BEGIN
    IF send_test.sample IS NOT NULL THEN
        INSERT INTO outbox.events (type, payload, tenant, live, target)
        SELECT t.type, t.example, receiver.tenant, false, receiver.endpoint
        FROM outbox.event_types t WHERE t.type = send_test.sample AND t.example IS NOT NULL
        RETURNING id INTO emitted;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the catalogue has no example of the event type %', quote_literal(send_test.sample)
                USING ERRCODE = 'no_data_found', HINT = 'outboxd event-types list shows which types have one.';
        END IF;
        RETURN emitted;
    END IF;
    INSERT INTO outbox.events (type, payload, tenant, live, target)
    VALUES ('test', format('{"endpointUrl":%s,"name":%s}', to_json(receiver.url), to_json(receiver.name))::json,
            receiver.tenant, false, receiver.endpoint)
    RETURNING id INTO emitted;
    RETURN emitted;
END
$$;
COMMENT ON FUNCTION outbox.send_test(text, text) IS
    'Sends one test event, or the example of an event type, to this endpoint alone, whatever it subscribes to; returns the event id';

CREATE FUNCTION outbox.reopen(which_event bigint, which_endpoint int) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    attempts_so_far int;
BEGIN
    -- Fan-out has not seen it yet, and will deliver it; or it waits for somebody to decide about it, and would be
    -- delivered twice once released.
    IF EXISTS (SELECT FROM outbox.queue q WHERE q.seq = which_event)
        OR EXISTS (SELECT FROM outbox.quarantine k WHERE k.event_seq = which_event AND k.released_at IS NULL)
    THEN
        RETURN false;
    END IF;
    SELECT coalesce(max(h.attempt), 0) INTO attempts_so_far FROM outbox.history h
    WHERE h.event_seq = which_event AND h.endpoint = which_endpoint;
    -- Where order is kept it waits its turn, which a daemon gives it: here nobody can know that no other delivery
    -- of the key is under way.
    INSERT INTO outbox.work (event_seq, endpoint, due_at, attempt, created_at, key, behind)
    SELECT which_event, which_endpoint, clock_timestamp(), attempts_so_far, clock_timestamp(), e.key, e.key IS NOT NULL
    FROM (SELECT (SELECT v.key FROM outbox.events v JOIN outbox.endpoints p ON p.endpoint = which_endpoint
                  WHERE v.seq = which_event AND v.target IS NULL AND p.ordered)) AS e (key)
    ON CONFLICT (event_seq, endpoint) DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- The delivery is open again, so the row that had closed it closes it no longer.
    UPDATE outbox.history h SET result = NULL, created_at = NULL
    WHERE h.event_seq = which_event AND h.endpoint = which_endpoint AND h.result IS NOT NULL;
    RETURN true;
END
$$;
COMMENT ON FUNCTION outbox.reopen(bigint, int) IS
    'Makes a finished delivery pending again; false when it already is, or its event is in quarantine or was discarded';

CREATE FUNCTION outbox.replay(event text, endpoint text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    which bigint := outbox.find_event(replay.event);
    is_discarded boolean;
BEGIN
    SELECT k.discarded_at IS NOT NULL INTO is_discarded FROM outbox.quarantine k
    WHERE k.event_seq = which AND k.released_at IS NULL;
    IF is_discarded THEN
        RAISE EXCEPTION 'the event % was discarded from quarantine', quote_literal(replay.event)
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Insert it again as a new event: outbox.release delivers only what is still held.';
    ELSIF NOT is_discarded THEN
        RAISE EXCEPTION 'the event % is held in quarantine', quote_literal(replay.event)
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'outbox.release(event) delivers it, to every endpoint that subscribes to it.';
    END IF;
    RETURN outbox.reopen(which, (outbox.find_endpoint(replay.endpoint)).endpoint);
END
$$;
COMMENT ON FUNCTION outbox.replay(text, text) IS
    'Delivers an event to an endpoint again, same id and bytes; false when it is pending anyway, an error when it is '
    'in quarantine or was discarded';

CREATE FUNCTION outbox.replay_failed(
    endpoint text, since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity'
) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    receiver int := (outbox.find_endpoint(replay_failed.endpoint)).endpoint;
    replayed bigint;
BEGIN
    SELECT count(*) FILTER (WHERE outbox.reopen(h.event_seq, h.endpoint)) INTO replayed
    FROM outbox.history h JOIN outbox.events e ON e.seq = h.event_seq
    WHERE h.endpoint = receiver AND h.started_at >= replay_failed.since AND h.started_at < replay_failed.until
      AND (h.result = 'exhausted' OR h.result = 'cancelled' AND h.error LIKE 'endpoint disabled%');
    RETURN replayed;
END
$$;
COMMENT ON FUNCTION outbox.replay_failed(text, timestamptz, timestamptz) IS
    'Replays what ended exhausted, or was cancelled because the endpoint was disabled; returns how many';

CREATE FUNCTION outbox.cancel(event text, endpoint text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    RETURN outbox.cancel_work((outbox.find_endpoint(cancel.endpoint)).endpoint, 'cancelled on request',
                              outbox.find_event(cancel.event)) > 0;
END
$$;
COMMENT ON FUNCTION outbox.cancel(text, text) IS 'Ends an unfinished delivery; false when there is none';

CREATE FUNCTION outbox.disable_endpoint(which int, reason text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    UPDATE outbox.endpoints SET state = 'disabled', state_reason = reason WHERE endpoint = which AND state <> 'disabled';
    RETURN outbox.cancel_work(which, 'endpoint disabled: ' || reason);
END
$$;
COMMENT ON FUNCTION outbox.disable_endpoint(int, text) IS
    'Stops an endpoint whose receiver asked for it; returns how many deliveries it cancelled';

CREATE FUNCTION outbox.pause_failing(after interval) RETURNS SETOF text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    RETURN QUERY
    UPDATE outbox.endpoints p
    SET state = 'paused', auto_paused = true,
        state_reason = 'paused by outboxd: it has taken nothing since '
            || to_char(f.since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
            || '; it is tried once in a while, and resumed by its first success'
    FROM outbox.endpoint_failures f
    WHERE p.endpoint = f.endpoint AND p.state = 'active' AND f.since <= clock_timestamp() - after
      -- It was tried all the while, and is still.
      AND EXISTS (SELECT FROM outbox.endpoint_minutes m
                  WHERE m.endpoint = f.endpoint AND m.last_failure_at >= f.since + after)
    RETURNING p.name;
END
$$;
COMMENT ON FUNCTION outbox.pause_failing(interval) IS
    'Pauses endpoints that have taken nothing for so long though it was tried; their deliveries wait; returns their names';

CREATE FUNCTION outbox.resume_mended(which int) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    UPDATE outbox.endpoints SET state = 'active', state_reason = NULL
    WHERE endpoint = which AND state = 'paused' AND auto_paused;
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION outbox.resume_mended(int) IS
    'Resumes an endpoint that outboxd had paused; false when somebody else has decided about it meanwhile';

-- Events of outboxd's own go the way of all others, to who subscribes to outboxd.* or to their types.
CREATE FUNCTION outbox.report_state() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    IF EXISTS (SELECT FROM outbox.endpoints p, unnest(p.events) AS pattern
               WHERE p.active AND starts_with(pattern, 'outboxd.'))
    THEN
        INSERT INTO outbox.events (type, payload, tenant)
        VALUES ('outboxd.endpoint.' || NEW.state,
                json_build_object('endpoint_id', NEW.id, 'endpoint_name', NEW.name, 'tenant', NEW.tenant,
                                  'state', NEW.state, 'reason', NEW.state_reason, 'automatic',
                                  NEW.auto_paused OR NEW.state = 'disabled'),
                NEW.tenant);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION outbox.report_state() IS
    'Emits outboxd.endpoint.paused or outboxd.endpoint.disabled, if anybody subscribes to events of outboxd';
CREATE TRIGGER report_state AFTER UPDATE OF state ON outbox.endpoints
    FOR EACH ROW WHEN (NEW.state IS DISTINCT FROM OLD.state AND NEW.state IN ('paused', 'disabled'))
    EXECUTE FUNCTION outbox.report_state();

CREATE FUNCTION outbox.report_exhausted(
    event_seq bigint[], endpoint int[], attempts int[], outcome text[], status int[]
) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
    INSERT INTO outbox.events (type, payload, tenant, live)
    SELECT 'outboxd.delivery.exhausted',
           json_build_object('endpoint_id', p.id, 'endpoint_name', p.name, 'tenant', e.tenant, 'event_id', e.id,
                             'event_type', e.type, 'attempts', d.attempts, 'last_outcome', d.outcome,
                             'last_status', d.status),
           coalesce(e.tenant, p.tenant), e.live
    FROM unnest(event_seq, endpoint, attempts, outcome, status) AS d (seq, endpoint, attempts, outcome, status)
    JOIN outbox.events e ON e.seq = d.seq
    JOIN outbox.endpoints p ON p.endpoint = d.endpoint
    -- Events of outboxd's own feed no more of them.
    WHERE NOT starts_with(e.type, 'outboxd.')
$$;
COMMENT ON FUNCTION outbox.report_exhausted(bigint[], int[], int[], text[], int[]) IS
    'Emits outboxd.delivery.exhausted for deliveries that were given up';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA outbox FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    outbox.subscribe(text, text[], text, text, text, text, boolean, text, boolean, json, interval, text, text, boolean),
    outbox.unsubscribe(text), outbox.set_tenant_secret(text, text, interval), outbox.remove_tenant_secret(text),
    outbox.pause(text, text), outbox.resume(text), outbox.rotate_secret(text, text, interval),
    outbox.send_test(text, text), outbox.replay(text, text), outbox.replay_failed(text, timestamptz, timestamptz),
    outbox.cancel(text, text), outbox.generate_secret(), outbox.find_endpoint(text), outbox.find_event(text),
    outbox.payload_bytes(json)
    TO outbox_admin;
GRANT EXECUTE ON FUNCTION outbox.disable_endpoint(int, text), outbox.pause_failing(interval),
    outbox.resume_mended(int), outbox.report_exhausted(bigint[], int[], int[], text[], int[])
    TO outbox_daemon;
-- The index of the endpoints calls it, as whoever changes one.
GRANT EXECUTE ON FUNCTION outbox.url_key(text) TO outbox_admin, outbox_daemon;

INSERT INTO outbox.migrations (version, name) VALUES (5, 'functions');
