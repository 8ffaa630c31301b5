-- Takes runs that were purged out of their app's list, and notes when the next is due.
-- KEYS  index, expiring, due
-- ARGV  now, grace, app, positions...
local removed = 0
for i = 4, #ARGV do
  local at = redis.call('ZSCORE', KEYS[2], ARGV[i])
  -- A run of the same position may have been created meanwhile.
  if at and tonumber(at) <= tonumber(ARGV[1]) then
    redis.call('ZREM', KEYS[1], ARGV[i])
    removed = removed + redis.call('ZREM', KEYS[2], ARGV[i])
  end
end
settle()
local next_one = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
if next_one then
  redis.call('ZADD', KEYS[3], 'XX', next_one, ARGV[3])
else
  redis.call('ZREM', KEYS[3], ARGV[3])
end
return removed
