-- sample: the gauges of the database, for the metrics.
-- Serves itself from work_due, quarantine_held and events_pkey; counts outbox.work, which is small.
SELECT (SELECT count(*) FROM outbox.queue) AS queued,
       count(*) FILTER (WHERE w.holder IS NULL AND (w.behind OR w.due_at > statement_timestamp())) AS scheduled,
       count(*) FILTER (WHERE NOT w.behind AND w.due_at <= statement_timestamp()) AS due,
       count(*) FILTER (WHERE w.holder IS NOT NULL AND w.due_at > statement_timestamp()) AS leased,
       greatest(
           coalesce(extract(epoch FROM statement_timestamp()
               - min(w.due_at) FILTER (WHERE p.state = 'active' AND NOT w.behind AND w.due_at <= statement_timestamp())), 0),
           coalesce((SELECT extract(epoch FROM statement_timestamp() - e.created_at)
                     FROM outbox.queue q JOIN outbox.events e USING (seq) ORDER BY q.seq LIMIT 1), 0),
           0)::double precision AS oldest_due_seconds,
       (SELECT count(*) FROM outbox.quarantined_events) AS quarantined
FROM outbox.work w LEFT JOIN outbox.endpoints p USING (endpoint)
