-- endpoint_change: sets the columns that are named, to null where the value is null.
-- $1 text: id or name; $2 text: a JSON object with columns of outbox.endpoints
-- Serves itself from endpoints_id_key.
UPDATE outbox.endpoints p
SET (url, name, events, tenant, live, profile, active, headers, timeout, retry, success, max_in_flight,
     rate_per_second, ordered, description)
    = (SELECT d.url, d.name, d.events, d.tenant, d.live, d.profile, d.active, d.headers, d.timeout, d.retry,
              d.success, d.max_in_flight, d.rate_per_second,
              coalesce(d.ordered, false), d.description
       FROM json_populate_record(p, $2::json) d)
WHERE p.id = (outbox.find_endpoint($1)).id
RETURNING p.id, p.name
