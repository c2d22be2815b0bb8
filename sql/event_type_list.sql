-- event_type_list: the catalogue by name, with the texts of the schemas and without the examples.
-- $1 bigint: most rows
-- Serves itself from event_types_pkey.
SELECT t.type, t.description, t.schema::text AS schema, t.example IS NOT NULL AS example, t.updated_at
FROM outbox.event_types t
ORDER BY t.type LIMIT $1::bigint
