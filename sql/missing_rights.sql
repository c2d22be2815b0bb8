-- missing_rights: what 'run' needs and the current user may not do, each with the GRANT that mends it.
-- All of it comes with membership in outbox_daemon.
SELECT format('%s on %s: GRANT outbox_daemon TO %I;', privilege, object, current_user)
FROM (VALUES
    ('outbox.events', 'SELECT'), ('outbox.events', 'DELETE'), ('outbox.queue', 'SELECT'),
    ('outbox.queue', 'UPDATE'), ('outbox.queue', 'DELETE'), ('outbox.endpoints', 'SELECT'),
    ('outbox.secrets', 'SELECT'), ('outbox.secrets', 'INSERT'), ('outbox.secrets', 'DELETE'),
    ('outbox.endpoint_revision', 'SELECT'), ('outbox.signing_secrets', 'SELECT'),
    ('outbox.work', 'SELECT'), ('outbox.work', 'INSERT'), ('outbox.work', 'UPDATE'), ('outbox.work', 'DELETE'),
    ('outbox.history', 'INSERT'), ('outbox.endpoint_minutes', 'INSERT'), ('outbox.endpoint_minutes', 'UPDATE'),
    ('outbox.endpoint_minutes', 'SELECT'), ('outbox.history', 'SELECT'), ('outbox.instances', 'SELECT'),
    ('outbox.instances', 'INSERT'), ('outbox.instances', 'UPDATE'), ('outbox.instances', 'DELETE'),
    ('outbox.event_types', 'SELECT'), ('outbox.quarantine', 'SELECT'), ('outbox.quarantine', 'INSERT'),
    ('outbox.quarantine', 'DELETE')
) AS needed (object, privilege)
WHERE NOT has_table_privilege(object, privilege)
UNION ALL
SELECT format('EXECUTE on %s: GRANT outbox_daemon TO %I;', routine, current_user)
FROM (VALUES ('outbox.maintain_history(interval, int)'), ('outbox.disable_endpoint(int, text)'),
             ('outbox.url_key(text)'), ('outbox.cancel_work(int, text, bigint)')) AS needed (routine)
WHERE NOT has_function_privilege(routine, 'EXECUTE')
UNION ALL
SELECT format('UPDATE (state, state_reason) on outbox.endpoints: GRANT outbox_daemon TO %I;', current_user)
WHERE NOT has_column_privilege('outbox.endpoints', 'state', 'UPDATE')
   OR NOT has_column_privilege('outbox.endpoints', 'state_reason', 'UPDATE')
UNION ALL
SELECT format('UPDATE (secret, ...) on outbox.secrets: GRANT outbox_daemon TO %I;', current_user)
WHERE NOT has_column_privilege('outbox.secrets', 'secret', 'UPDATE')
   OR NOT has_column_privilege('outbox.secrets', 'public_key', 'UPDATE')
   OR NOT has_column_privilege('outbox.secrets', 'created_at', 'UPDATE')
   OR NOT has_column_privilege('outbox.secrets', 'expires_at', 'UPDATE')
