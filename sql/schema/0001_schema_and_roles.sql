-- The schema, the list of applied migrations, and the four roles that rights are granted to.
-- Runs as an ordinary user that may create a schema in this database; needs CREATEROLE only
-- when the roles do not exist yet.

CREATE SCHEMA outbox;
COMMENT ON SCHEMA outbox IS 'outboxd: events waiting for, and delivered to, webhook endpoints';

CREATE TABLE outbox.migrations (
    version       int PRIMARY KEY,
    name          text NOT NULL,
    checksum      text,
    oldest_daemon int NOT NULL DEFAULT 0,
    applied_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE outbox.migrations IS 'The schema migrations applied to this database, one row each';
COMMENT ON COLUMN outbox.migrations.version IS 'Number of the file in sql/schema';
COMMENT ON COLUMN outbox.migrations.name IS 'Name of the file in sql/schema, without number and ending';
COMMENT ON COLUMN outbox.migrations.checksum IS
    'SHA-256 of the file, in hex; null until the next "outboxd migrate" when psql applied it';
COMMENT ON COLUMN outbox.migrations.oldest_daemon IS
    'Once it is applied, an outboxd that was made for an earlier version than this works no longer; 0: it takes '
    'nothing away, and whatever worked before still does';
COMMENT ON COLUMN outbox.migrations.applied_at IS 'When it was applied';

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['outbox_producer', 'outbox_daemon', 'outbox_admin', 'outbox_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION
                -- Another database of this cluster is being migrated at the same moment.
                WHEN duplicate_object OR unique_violation THEN NULL;
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION 'role % does not exist and % may not create roles', wanted, current_user
                        USING HINT = 'Have an administrator run: CREATE ROLE outbox_producer NOLOGIN; '
                            'CREATE ROLE outbox_daemon NOLOGIN; CREATE ROLE outbox_admin NOLOGIN; '
                            'CREATE ROLE outbox_reader NOLOGIN;';
            END;
        END IF;
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA outbox TO outbox_producer, outbox_daemon, outbox_admin, outbox_reader;
GRANT SELECT ON outbox.migrations TO outbox_daemon, outbox_admin, outbox_reader;

INSERT INTO outbox.migrations (version, name) VALUES (1, 'schema_and_roles');
