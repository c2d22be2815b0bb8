-- event_type_show: one event type, schema and example as texts; no row when it is not in the catalogue.
-- $1 text: type
-- Serves itself from event_types_pkey.
SELECT t.type, t.description, t.schema::text AS schema, t.example::text AS example
FROM outbox.event_types t WHERE t.type = $1
