-- Notes how far a consumer has come; it never falls.
-- KEYS  record
-- ARGV  now, field of the consumer, sequence
-- Returns the highest; -1 where there is no such run, -2 where it has no such event.
local stored = redis.call('HMGET', KEYS[1], 'v', 'x', 'n', ARGV[2])
if not stored[1] or expired(stored[2]) then return -1 end
local sequence, known = tonumber(ARGV[3]), tonumber(stored[4] or '0')
if sequence > tonumber(stored[3] or '0') then return -2 end
if sequence <= known then return known end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return sequence
