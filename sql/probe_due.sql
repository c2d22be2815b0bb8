-- probe_due: when the next delivery of each endpoint is due, if it is soon; endpoints without are left out.
-- $1 int[]: endpoint; $2 bigint: look no further back than this, $3 bigint: nor ahead, in microseconds from now.
-- Between the two, for what has ended leaves dead entries wherever its leases would have.
-- Serves itself from work_due (endpoint, behind, due_at), one probe per endpoint.
-- See claim for the ranges.
SELECT r.endpoint, (extract(epoch FROM w.due_at - statement_timestamp()) * 1000000)::bigint AS wait_us
FROM unnest($1::int[]) AS r (endpoint)
CROSS JOIN LATERAL (
    SELECT due_at FROM outbox.work
    WHERE (endpoint, behind, due_at)
          >= (r.endpoint, false, statement_timestamp() - $2 * interval '1 microsecond')
      AND (endpoint, behind, due_at)
          <= (r.endpoint, false, statement_timestamp() + $3 * interval '1 microsecond')
    ORDER BY endpoint, behind, due_at LIMIT 1
) w
