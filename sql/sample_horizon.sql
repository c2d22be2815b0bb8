-- sample_horizon: the next transaction number, and for each kind of holder how many transactions back the oldest
-- snapshot reaches that keeps vacuum from our tables: backends of this database, prepared transactions,
-- replication slots, and what standbys report. Null: none. Vacuum itself keeps nothing. Reads views of the
-- server that everybody may read; they show these columns of other users' sessions too.
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next,
       (SELECT max(greatest(age(a.backend_xmin), age(a.backend_xid))) FROM pg_stat_activity a
        WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
          AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum v WHERE v.pid = a.pid))::bigint AS backend,
       (SELECT max(age(p.transaction)) FROM pg_prepared_xacts p
        WHERE p.database = current_database())::bigint AS prepared_transaction,
       (SELECT max(age(s.xmin)) FROM pg_replication_slots s)::bigint AS replication_slot,
       (SELECT max(age(a.backend_xmin)) FROM pg_stat_activity a WHERE a.datid IS NULL)::bigint AS standby
