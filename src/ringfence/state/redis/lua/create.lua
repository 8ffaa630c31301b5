-- Creates a run, unless there is one whose time has not come.
-- KEYS  record, events, leases
-- ARGV  now, version, write, json, expires, ttl, lease, segment, ended
-- Returns nil where this call created it (now, or when its answer was lost), else the stored json.
local stored = redis.call('HMGET', KEYS[1], 'w', 'x', 'j')
if stored[3] then
  if stored[1] == ARGV[3] then return nil end
  if not expired(stored[2]) then return stored[3] end
  redis.call('UNLINK', KEYS[1], KEYS[2])
end
put(nil, nil)
return nil
