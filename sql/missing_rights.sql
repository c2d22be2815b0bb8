-- missing_rights: what 'run' needs and the current user may not do, each with the GRANT that mends it:
-- membership in outbox_daemon, or what that role itself has lost.
WITH needed (object, privilege, columns) AS (
    VALUES
    ('outbox.migrations', 'SELECT', NULL), ('outbox.events', 'SELECT', NULL), ('outbox.events', 'DELETE', NULL),
    ('outbox.queue', 'SELECT', NULL), ('outbox.queue', 'UPDATE', NULL), ('outbox.queue', 'DELETE', NULL),
    ('outbox.endpoints', 'SELECT', NULL), ('outbox.endpoints', 'UPDATE', '{state,state_reason}'::text[]),
    ('outbox.secrets', 'SELECT', NULL), ('outbox.secrets', 'INSERT', NULL), ('outbox.secrets', 'DELETE', NULL),
    ('outbox.secrets', 'UPDATE', '{secret,public_key,created_at,expires_at}'),
    ('outbox.endpoint_revision', 'SELECT', NULL), ('outbox.signing_secrets', 'SELECT', NULL),
    ('outbox.work', 'SELECT', NULL), ('outbox.work', 'INSERT', NULL), ('outbox.work', 'UPDATE', NULL),
    ('outbox.work', 'DELETE', NULL), ('outbox.history', 'INSERT', NULL), ('outbox.history', 'SELECT', '{endpoint,result}'), ('outbox.endpoint_minutes', 'SELECT', NULL),
    ('outbox.endpoint_minutes', 'INSERT', NULL), ('outbox.endpoint_minutes', 'UPDATE', NULL),
    ('outbox.instances', 'SELECT', NULL), ('outbox.instances', 'INSERT', NULL), ('outbox.instances', 'UPDATE', NULL),
    ('outbox.instances', 'DELETE', NULL), ('outbox.event_types', 'SELECT', NULL),
    ('outbox.quarantine', 'SELECT', NULL), ('outbox.quarantine', 'INSERT', NULL),
    ('outbox.quarantine', 'UPDATE', '{reason,quarantined_at,released_at,discarded_at}'),
    ('outbox.quarantine', 'DELETE', NULL), ('outbox.quarantined_events', 'SELECT', NULL),
    ('outbox.endpoint_failures', 'SELECT', NULL), ('outbox.endpoint_failures', 'INSERT', NULL),
    ('outbox.endpoint_failures', 'DELETE', NULL), ('outbox.home', 'UPDATE', '{seen_at}'), ('outbox.held', 'SELECT', NULL)
), missing (privilege, object) AS (
    SELECT privilege || coalesce(' (' || array_to_string(columns, ', ') || ')', ''), object FROM needed
    WHERE CASE WHEN columns IS NULL THEN NOT has_table_privilege(object, privilege)
               ELSE EXISTS (SELECT FROM unnest(columns) AS c (name)
                            WHERE NOT has_column_privilege(object, c.name, privilege)) END
    UNION ALL
    SELECT 'EXECUTE', routine
    FROM (VALUES ('outbox.prepare_history(int)'), ('outbox.drop_history(interval)'),
                 ('outbox.empty_history()'), ('outbox.disable_endpoint(int, text)'),
                 ('outbox.url_key(text)'), ('outbox.cancel_work(int, text, bigint)'),
                 ('outbox.pause_failing(interval)'), ('outbox.resume_mended(int)'),
                 ('outbox.recognise(interval, bigint)'),
                 ('outbox.report_exhausted(bigint[], int[], int[], text[], int[])')) AS routines (routine)
    WHERE NOT has_function_privilege(routine, 'EXECUTE')
)
SELECT CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = 'outbox_daemon' AND pg_has_role(oid, 'MEMBER'))
            THEN format('%1$s on %2$s: GRANT %1$s ON %3$s%2$s TO outbox_daemon;', privilege, object,
                        CASE privilege WHEN 'EXECUTE' THEN 'FUNCTION ' END)
            ELSE format('%s on %s: GRANT outbox_daemon TO %I;', privilege, object, current_user) END
FROM missing
