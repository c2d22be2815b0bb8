-- Who receives: endpoints, their secrets, and a revision that tells the daemons of a change.

CREATE TABLE outbox.endpoints (
    endpoint        int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id              text NOT NULL DEFAULT 'ep_' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 24),
    name            text NOT NULL,
    url             text NOT NULL,
    events          text[] NOT NULL DEFAULT '{*}',
    tenant          text,
    live            boolean,
    profile         text NOT NULL DEFAULT 'standard',
    active          boolean NOT NULL DEFAULT true,
    headers         json NOT NULL DEFAULT '{}',
    timeout         interval,
    retry           text,
    success         text,
    max_in_flight   int,
    rate_per_second double precision,
    ordered         boolean NOT NULL DEFAULT false,
    description     text,
    state           text NOT NULL DEFAULT 'active',
    state_reason    text,
    auto_paused     boolean NOT NULL DEFAULT false,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT endpoints_id_key UNIQUE (id),
    CONSTRAINT endpoints_name_key UNIQUE (name),
    CONSTRAINT endpoints_id_form CHECK (id ~ '^ep_[A-Za-z0-9_]{1,64}$'),
    CONSTRAINT endpoints_name_slug CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'),
    CONSTRAINT endpoints_tenant_size CHECK (length(tenant) BETWEEN 1 AND 256),
    -- What would make the row unreadable, and with it all the others.
    CONSTRAINT endpoints_events_plain CHECK (array_position(events, NULL) IS NULL AND array_ndims(events) = 1),
    CONSTRAINT endpoints_timeout_range CHECK (timeout > interval '0' AND timeout <= interval '1 day'),
    CONSTRAINT endpoints_max_in_flight_range CHECK (max_in_flight BETWEEN 1 AND 10000),
    CONSTRAINT endpoints_rate_range CHECK (rate_per_second > 0 AND rate_per_second <= 1000000),
    CONSTRAINT endpoints_state_known CHECK (state IN ('active', 'paused', 'disabled', 'invalid'))
);
COMMENT ON TABLE outbox.endpoints IS 'One row per HTTP receiver';
COMMENT ON COLUMN outbox.endpoints.endpoint IS 'The daemon''s number of the endpoint';
COMMENT ON COLUMN outbox.endpoints.id IS 'Public id, ep_ and letters or digits';
COMMENT ON COLUMN outbox.endpoints.name IS 'Unique slug; the metrics label; by default the id';
COMMENT ON COLUMN outbox.endpoints.url IS 'Where requests go; http or https';
COMMENT ON COLUMN outbox.endpoints.events IS 'Event types it receives: exact types, * or a prefix such as payout.*';
COMMENT ON COLUMN outbox.endpoints.tenant IS 'Only events of this tenant; null: of every tenant';
COMMENT ON COLUMN outbox.endpoints.live IS 'True: live events only; false: test events only; null: both';
COMMENT ON COLUMN outbox.endpoints.profile IS 'Wire contract: body shape, headers, signature';
COMMENT ON COLUMN outbox.endpoints.active IS 'False: no new deliveries; those that exist are finished';
COMMENT ON COLUMN outbox.endpoints.headers IS 'Static extra headers, a JSON object of strings';
COMMENT ON COLUMN outbox.endpoints.timeout IS 'Whole request, per attempt, 60 s at most; null: delivery.timeout';
COMMENT ON COLUMN outbox.endpoints.retry IS 'Retry schedule, as delivery.retry; null: the profile''s or delivery.retry';
COMMENT ON COLUMN outbox.endpoints.success IS
    'Statuses that count as success, such as 200 or 2xx or 200-204 409; null: the profile''s';
COMMENT ON COLUMN outbox.endpoints.max_in_flight IS 'Requests at once; null: delivery.max_in_flight_per_endpoint';
COMMENT ON COLUMN outbox.endpoints.rate_per_second IS 'Most requests a second, of all daemons together; null: no limit';
COMMENT ON COLUMN outbox.endpoints.ordered IS
    'Deliver the events of one events.key one after the other, in the order of their insertion; holds for events '
    'inserted after it was set';
COMMENT ON COLUMN outbox.endpoints.description IS 'For people';
COMMENT ON COLUMN outbox.endpoints.state IS 'active, paused (deliveries wait), disabled (none made), invalid (wait)';
COMMENT ON COLUMN outbox.endpoints.state_reason IS 'Why it is in that state';
COMMENT ON COLUMN outbox.endpoints.auto_paused IS
    'Paused by outboxd after long failure: tried once in a while, and resumed by its first success';
COMMENT ON COLUMN outbox.endpoints.created_at IS 'When it was created';
COMMENT ON COLUMN outbox.endpoints.updated_at IS 'When it was last changed';

CREATE FUNCTION outbox.url_key(url text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS
$$
    -- m: scheme, user and password, host, port, path, query. What is no URL is its own key.
    SELECT CASE WHEN m IS NULL THEN url_key.url ELSE
        scheme || '://' || coalesce(m[2], '') || lower(m[3] COLLATE "C")
        || CASE WHEN port = '' OR (scheme, port) IN (('http', '80'), ('https', '443')) THEN '' ELSE ':' || port END
        || coalesce(m[5], '/') || coalesce(m[6], '') END
    FROM (SELECT regexp_match(btrim(url_key.url, E' \t\r\n'),
              '^([a-z][a-z0-9+.-]*)://([^/?#]*@)?(\[[^]/?#]*\]|[^/?#:@]*)(:[0-9]*)?(/[^?#]*)?(\?[^#]*)?(?:#.*)?$', 'i')
    ) AS parts (m)
    CROSS JOIN LATERAL (SELECT lower(m[1] COLLATE "C"), ltrim(coalesce(m[4], ''), ':0')) AS plain (scheme, port)
$$;
COMMENT ON FUNCTION outbox.url_key(text) IS
    'The same text for every spelling of a URL: case of scheme and host, default port, empty path and fragment';
CREATE INDEX endpoints_url ON outbox.endpoints USING hash (outbox.url_key(url));

CREATE TABLE outbox.secrets (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_id text REFERENCES outbox.endpoints (id) ON DELETE CASCADE ON UPDATE CASCADE,
    tenant      text,
    secret      text NOT NULL,
    public_key  text,
    shown       boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz,
    CONSTRAINT secrets_owner CHECK (num_nonnulls(endpoint_id, tenant) = 1),
    CONSTRAINT secrets_tenant_size CHECK (length(tenant) BETWEEN 1 AND 256),
    -- A sealed text is longer than what is in it, and whatever fits plain has to fit sealed.
    CONSTRAINT secrets_size
        CHECK (length(secret) BETWEEN 1 AND CASE WHEN secret LIKE 'sealed:%' THEN 8192 ELSE 1024 END),
    CONSTRAINT secrets_public_key_form CHECK (public_key ~ '^whpk_[A-Za-z0-9+/=]{1,128}$'),
    CONSTRAINT secrets_expires_at_range
        CHECK (expires_at >= '1970-01-01 00:00:00Z' AND expires_at < '9999-01-01 00:00:00Z')
);
COMMENT ON TABLE outbox.secrets IS 'Signing secrets of endpoints and of tenants; view signing_secrets says which are used';
COMMENT ON COLUMN outbox.secrets.number IS 'Number of the secret';
COMMENT ON COLUMN outbox.secrets.endpoint_id IS 'endpoints.id of the endpoint that owns it; null: a tenant does';
COMMENT ON COLUMN outbox.secrets.tenant IS 'Tenant that owns it, for all its endpoints; null: an endpoint does';
COMMENT ON COLUMN outbox.secrets.secret IS
    'The secret as the receiver knows it, such as whsec_..., or sealed under a master key: sealed:v1:...';
COMMENT ON COLUMN outbox.secrets.public_key IS 'Of an Ed25519 key, what receivers verify with, and no secret: whpk_...';
COMMENT ON COLUMN outbox.secrets.shown IS 'False: generated, and shown to nobody yet';
COMMENT ON COLUMN outbox.secrets.created_at IS 'When it became active';
COMMENT ON COLUMN outbox.secrets.expires_at IS 'When it stops signing after a rotation; null: never';
CREATE INDEX secrets_endpoint ON outbox.secrets (endpoint_id);
CREATE INDEX secrets_tenant ON outbox.secrets (tenant) WHERE tenant IS NOT NULL;
CREATE INDEX secrets_plain ON outbox.secrets (number) WHERE secret NOT LIKE 'sealed:%';
-- Of several daemons that make up a secret for an endpoint, one is first.
CREATE UNIQUE INDEX secrets_unseen ON outbox.secrets (endpoint_id) WHERE NOT shown;
CREATE INDEX secrets_expiring ON outbox.secrets (expires_at) WHERE expires_at IS NOT NULL;

-- The constraints again, and before them: what they refuse is quoted whole in the DETAIL of the error, the
-- secret included, and from there it gets into logs.
CREATE FUNCTION outbox.before_secret_change() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
    is_sealed boolean := NEW.secret LIKE 'sealed:%';
    most int := CASE WHEN is_sealed THEN 8192 ELSE 1024 END;
BEGIN
    IF NEW.secret IS NULL OR NEW.number IS NULL OR NEW.shown IS NULL OR NEW.created_at IS NULL THEN
        RAISE EXCEPTION 'a secret needs a text, a number, shown and created_at; one of them is null'
            USING ERRCODE = 'not_null_violation',
                  HINT = 'Give the secret, and leave the other columns to their defaults.';
    END IF;
    IF btrim(NEW.secret, E' \t\r\n') = '' THEN
        RAISE EXCEPTION 'the secret is empty'
            USING ERRCODE = 'check_violation',
                  HINT = 'The functions of outbox generate one when the secret is null.';
    END IF;
    IF length(NEW.secret) > most THEN
        RAISE EXCEPTION 'the secret has % characters; % are the most', length(NEW.secret), most
            USING ERRCODE = 'check_violation', HINT = 'Give the secret alone, as the receiver knows it.';
    END IF;
    IF num_nonnulls(NEW.endpoint_id, NEW.tenant) <> 1 OR length(NEW.tenant) NOT BETWEEN 1 AND 256 THEN
        RAISE EXCEPTION 'a secret belongs to one endpoint or to one tenant'
            USING ERRCODE = 'check_violation',
                  HINT = 'Set endpoint_id, or tenant (1 to 256 characters), and not both.';
    END IF;
    IF NEW.expires_at < '1970-01-01 00:00:00Z' OR NEW.expires_at >= '9999-01-01 00:00:00Z' THEN
        RAISE EXCEPTION 'a secret cannot expire at %', NEW.expires_at
            USING ERRCODE = 'check_violation',
                  HINT = 'Give a time, or an overlap that ends, from 1970 to 9998; null expires_at means never.';
    END IF;
    IF NEW.public_key !~ '^whpk_[A-Za-z0-9+/=]{1,128}$' THEN
        RAISE EXCEPTION 'the public key of a secret is not one'
            USING ERRCODE = 'check_violation', HINT = 'Leave public_key null: the daemon fills it in.';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION outbox.before_secret_change() IS
    'Refuses what the constraints of outbox.secrets refuse, without quoting the row';
REVOKE ALL ON FUNCTION outbox.before_secret_change() FROM PUBLIC;
CREATE TRIGGER before_change BEFORE INSERT OR UPDATE ON outbox.secrets
    FOR EACH ROW EXECUTE FUNCTION outbox.before_secret_change();

CREATE VIEW outbox.signing_secrets AS
    SELECT endpoint, number, secret, public_key, created_at, expires_at
    FROM (
        SELECT *, min(preference) OVER (PARTITION BY endpoint) AS best
        FROM (
            SELECT p.endpoint, s.number, s.secret, s.public_key, s.created_at, s.expires_at,
                   CASE WHEN s.shown THEN 1 ELSE 3 END AS preference
            FROM outbox.secrets s JOIN outbox.endpoints p ON p.id = s.endpoint_id
            WHERE s.expires_at IS NULL OR s.expires_at > statement_timestamp()
            UNION ALL
            SELECT p.endpoint, s.number, s.secret, s.public_key, s.created_at, s.expires_at, 2
            FROM outbox.secrets s JOIN outbox.endpoints p ON p.tenant = s.tenant
            WHERE s.expires_at IS NULL OR s.expires_at > statement_timestamp()
        ) AS active
    ) AS preferred
    WHERE preference = best;
COMMENT ON VIEW outbox.signing_secrets IS
    'Which secrets sign for an endpoint: its own; without one its tenant''s; without one its own that nobody has seen';
COMMENT ON COLUMN outbox.signing_secrets.endpoint IS 'endpoints.endpoint';
COMMENT ON COLUMN outbox.signing_secrets.number IS 'secrets.number';
COMMENT ON COLUMN outbox.signing_secrets.secret IS 'secrets.secret';
COMMENT ON COLUMN outbox.signing_secrets.public_key IS 'secrets.public_key';
COMMENT ON COLUMN outbox.signing_secrets.created_at IS 'secrets.created_at';
COMMENT ON COLUMN outbox.signing_secrets.expires_at IS 'secrets.expires_at';

-- Written only by changes of endpoints and secrets; every fan-out reads it in its own snapshot, so an event
-- is never matched against endpoints older than itself.
CREATE TABLE outbox.endpoint_revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint NOT NULL
);
INSERT INTO outbox.endpoint_revision (revision) VALUES (1);
COMMENT ON TABLE outbox.endpoint_revision IS 'One row: counts the changes of endpoints and secrets';
COMMENT ON COLUMN outbox.endpoint_revision.only_row IS 'Keeps the table at one row';
COMMENT ON COLUMN outbox.endpoint_revision.revision IS 'Goes up with every change';

CREATE FUNCTION outbox.bump_endpoint_revision() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    UPDATE outbox.endpoint_revision SET revision = revision + 1;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION outbox.bump_endpoint_revision() IS 'Tells the daemons that endpoints or secrets changed';
REVOKE ALL ON FUNCTION outbox.bump_endpoint_revision() FROM PUBLIC;
-- Before the statement, so that whoever changes several rows locks this one first: two of them then wait
-- for each other here, and never in a circle.
CREATE TRIGGER bump_revision BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON outbox.endpoints
    FOR EACH STATEMENT EXECUTE FUNCTION outbox.bump_endpoint_revision();
CREATE TRIGGER bump_revision BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON outbox.secrets
    FOR EACH STATEMENT EXECUTE FUNCTION outbox.bump_endpoint_revision();

CREATE FUNCTION outbox.before_endpoint_change() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    NEW.name := coalesce(NEW.name, NEW.id);
    IF TG_OP = 'UPDATE' THEN
        NEW.updated_at := clock_timestamp();
        NEW.auto_paused := NEW.auto_paused AND NEW.state = 'paused';
        -- A mended definition gets a new chance; the daemon judges it again.
        IF OLD.state = 'invalid' AND NEW.state = 'invalid'
            AND (NEW.url, NEW.events, NEW.profile, NEW.headers::text, NEW.timeout, NEW.retry, NEW.success,
                NEW.ordered)
                IS DISTINCT FROM
                (OLD.url, OLD.events, OLD.profile, OLD.headers::text, OLD.timeout, OLD.retry, OLD.success,
                OLD.ordered)
        THEN
            NEW.state := 'active';
            NEW.state_reason := NULL;
        END IF;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION outbox.before_endpoint_change() IS 'Fills name and updated_at; lets a mended endpoint try again';
REVOKE ALL ON FUNCTION outbox.before_endpoint_change() FROM PUBLIC;
CREATE TRIGGER before_change BEFORE INSERT OR UPDATE ON outbox.endpoints
    FOR EACH ROW EXECUTE FUNCTION outbox.before_endpoint_change();

CREATE FUNCTION outbox.after_secret_insert() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
    UPDATE outbox.endpoints p SET state = 'active', state_reason = NULL
    FROM inserted i
    WHERE p.state = 'invalid' AND (p.id = i.endpoint_id OR p.tenant = i.tenant);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION outbox.after_secret_insert() IS 'Lets an invalid endpoint try again with its new secret';
REVOKE ALL ON FUNCTION outbox.after_secret_insert() FROM PUBLIC;
CREATE TRIGGER after_insert AFTER INSERT ON outbox.secrets
    REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION outbox.after_secret_insert();

GRANT SELECT, INSERT, UPDATE, DELETE ON outbox.endpoints, outbox.secrets TO outbox_admin;
GRANT SELECT, UPDATE (state, state_reason) ON outbox.endpoints TO outbox_daemon;
GRANT SELECT, INSERT, UPDATE (secret, public_key, created_at, expires_at), DELETE ON outbox.secrets TO outbox_daemon;
GRANT SELECT ON outbox.signing_secrets TO outbox_admin, outbox_daemon;
GRANT SELECT ON outbox.endpoint_revision TO outbox_daemon;

INSERT INTO outbox.migrations (version, name) VALUES (3, 'endpoints');
