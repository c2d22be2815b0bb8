-- sample_server: the clock of the database in unix seconds, the version of the schema, the events in quarantine.
-- Serves itself from quarantine_held and events_pkey.
SELECT extract(epoch FROM clock_timestamp())::float8 AS now,
       (SELECT max(version) FROM outbox.migrations) AS schema_version,
       (SELECT count(*) FROM outbox.quarantined_events) AS quarantined
