-- Swaps a run's record for the next version.
-- KEYS  record, events, leases
-- ARGV  now, version, write, json, expires, ttl, lease, segment, ended, expected version
-- Returns 1 where it is stored, 0 where there is no such run, else the json of another version.
local stored = redis.call('HMGET', KEYS[1], 'v', 'w', 'x', 'n')
if not stored[1] or expired(stored[3]) then return 0 end
-- Its own write: the answer was lost, and the request repeated.
if stored[2] == ARGV[3] then return 1 end
if stored[1] ~= ARGV[10] then return redis.call('HGET', KEYS[1], 'j') end
put(stored[3], stored[4])
return 1
