-- endpoint_subscribe: creates an endpoint, or updates the one that the tenant has for the URL.
-- $1 text: a JSON object with columns of outbox.endpoints; $2 text: secret, null: generate one
-- Serves itself from endpoints_url.
SELECT outbox.subscribe(url => d.url, events => d.events, tenant => d.tenant,
                        profile => d.profile, secret => $2, name => d.name,
                        live => d.live, description => d.description, ordered => d.ordered) AS id
FROM json_populate_record(NULL::outbox.endpoints, $1::json) d
