-- Removes a run whose time has come, and the lease of one that is gone.
-- KEYS  record, events, leases
-- ARGV  now, segment
local stored = redis.call('HMGET', KEYS[1], 'v', 'x')
if stored[1] and not expired(stored[2]) then return 0 end
redis.call('ZREM', KEYS[3], ARGV[2])
return redis.call('UNLINK', KEYS[1], KEYS[2])
