-- event_emit: inserts an event, unless one with that id exists.
-- $1 text: type; $2 json: payload; $3 text: id, null: generate one; $4 text: tenant; $5 boolean: live;
-- $6 text: key; $7 timestamptz: not before
-- Serves itself from events_id_key.
SELECT outbox.emit(type => $1, payload => $2::json, id => $3, tenant => $4, live => $5::boolean, key => $6,
                   deliver_after => $7::timestamptz) AS id
