-- instance_bury: releases at once what dead daemons had leased. A daemon is dead when its lock is free
-- and it has been silent for longer than a reconnection takes; behind a pooler only the end of its
-- leases shows it, and its row goes after a day. Its leases are released a second time some seconds
-- later, for a statement of the dead one that was still under way.
-- $1 int: own id
-- Scans outbox.work, which is small; only when somebody died.
WITH silent AS MATERIALIZED (
    SELECT id FROM outbox.instances
    WHERE id <> $1 AND locked AND seen_at < clock_timestamp() - interval '2 seconds'
      AND (dead_at IS NULL OR dead_at < clock_timestamp() - interval '5 seconds')
), dead AS MATERIALIZED (
    -- Only now: the lock of a daemon that is coming back must not be touched.
    SELECT id FROM silent WHERE pg_try_advisory_xact_lock(hashtext('outboxd'), id)
), gone AS (
    DELETE FROM outbox.instances
    WHERE (dead_at IS NOT NULL AND id IN (SELECT id FROM dead))
       OR (NOT locked AND id <> $1 AND seen_at < clock_timestamp() - interval '1 day')
), marked AS (
    UPDATE outbox.instances SET dead_at = clock_timestamp()
    WHERE dead_at IS NULL AND id IN (SELECT id FROM dead)
), released AS (
    UPDATE outbox.work SET due_at = clock_timestamp()
    WHERE holder = ANY (ARRAY(SELECT id FROM dead)) AND due_at > clock_timestamp()
      AND EXISTS (SELECT FROM dead)
    RETURNING 1
)
SELECT (SELECT count(*) FROM dead) AS dead, (SELECT count(*) FROM released) AS released
