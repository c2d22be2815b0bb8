-- older_daemons: the daemons that run and were made for an earlier version of the schema.
-- $1 int: version of the schema
-- Scans outbox.instances, which has a handful of rows.
SELECT host, pid, version FROM outbox.instances
WHERE made_for < $1 AND dead_at IS NULL AND seen_at > clock_timestamp() - interval '60 seconds'
ORDER BY id
