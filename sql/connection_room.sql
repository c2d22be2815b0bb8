-- connection_room: how many connections ordinary users may have, and how many there are.
SELECT current_setting('max_connections')::bigint
           - current_setting('superuser_reserved_connections')::bigint
           - coalesce(current_setting('reserved_connections', true)::bigint, 0) AS usable,
       (SELECT sum(numbackends) FROM pg_stat_database)::bigint AS used
