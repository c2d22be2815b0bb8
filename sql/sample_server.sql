-- sample_server: the clock of the database in unix seconds, the version of the schema, the events in quarantine,
-- the deliveries in history that were given up and not replayed since, so many at most, and what is held since a backup was
-- restored.
-- $1 bigint: most that are counted
-- Serves itself from quarantine_held, events_pkey, history_exhausted and, where something is held, work_due.
SELECT extract(epoch FROM clock_timestamp())::float8 AS now,
       (SELECT max(version) FROM outbox.migrations) AS schema_version,
       (SELECT count(*) FROM outbox.quarantined_events) AS quarantined,
       (SELECT count(*) FROM (SELECT endpoint FROM outbox.history WHERE result = 'exhausted' LIMIT $1) h) AS exhausted,
       coalesce((SELECT deliveries + events FROM outbox.held), 0) AS held
