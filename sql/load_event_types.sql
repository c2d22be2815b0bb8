-- load_event_types: the schema of every event type that has one.
SELECT t.type, t.schema::text AS schema FROM outbox.event_types t WHERE t.schema IS NOT NULL
