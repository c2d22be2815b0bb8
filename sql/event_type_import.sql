-- event_type_import: adds event types and replaces those that differ. Returns these, and whether each
-- is new; what is as it was is left alone.
-- $1 json: an array of objects with type, description, schema, example; json keeps the bytes of the last two
-- Serves itself from event_types_pkey.
INSERT INTO outbox.event_types AS t (type, description, schema, example)
SELECT n ->> 'type', n ->> 'description', n -> 'schema', n -> 'example' FROM json_array_elements($1::json) AS n
ON CONFLICT (type) DO UPDATE
SET description = excluded.description, schema = excluded.schema, example = excluded.example
WHERE (t.description, t.schema::text, t.example::text)
    IS DISTINCT FROM (excluded.description, excluded.schema::text, excluded.example::text)
RETURNING t.type, t.xmax = 0 AS created
