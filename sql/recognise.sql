-- recognise: whether this is the database that daemons worked in, or a restored backup; what waited in that is held.
-- Returns how many deliveries and events are held now, and why; null: this is no such backup.
-- $1 bigint: hold what is older than so many microseconds; null: never hold
-- $2 bigint: when this daemon last gave a sign of life, in microseconds since the epoch by the clock of the database;
-- null: it has just started
-- Scans outbox.work and outbox.queue, only where something is held.
SELECT deliveries, events, reason FROM outbox.recognise($1 * interval '1 microsecond', $2)
