-- Takes positions out of an app's list.
-- KEYS  index, expiring, orphans
-- ARGV  now, grace, positions...
local removed = 0
for i = 3, #ARGV do
  removed = removed + redis.call('ZREM', KEYS[1], ARGV[i])
  redis.call('ZREM', KEYS[2], ARGV[i])
  redis.call('ZREM', KEYS[3], ARGV[i])
end
settle()
return removed
