-- delivery_replay_failed: replays what failed for good in a span of time.
-- $1 text: id or name of the endpoint; $2 timestamptz: from, null: ever; $3 timestamptz: before, null: ever
-- Scans the history partitions of that span.
SELECT outbox.replay_failed(endpoint => $1, since => coalesce($2::timestamptz, '-infinity'),
                            until => coalesce($3::timestamptz, 'infinity')) AS replayed
