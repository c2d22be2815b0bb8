-- instance_leave: the end of a daemon that stopped in order.
-- $1 int: own id
DELETE FROM outbox.instances WHERE id = $1
