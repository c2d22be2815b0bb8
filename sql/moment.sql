-- moment: a time by the clock of the database.
-- $1 interval: from now, negative: ago
SELECT clock_timestamp() + $1::interval AS moment
