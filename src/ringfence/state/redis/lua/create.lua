-- Creates a run, unless there is one whose time has not come.
-- KEYS  record, events, leases
-- ARGV  now, version, write, json, expires, ttl, lease, segment, ended
-- Returns nil where this call created it, else the stored json.
local stored = redis.call('HMGET', KEYS[1], 'x', 'j')
if stored[2] then
  if not expired(stored[1]) then return stored[2] end
  redis.call('UNLINK', KEYS[1], KEYS[2])
end
put(nil, nil)
return nil
