-- Positions at which no record was found: of a creation that is under way, or of one that ended in
-- a crash. What is still so after a while is the latter.
-- KEYS  index, expiring, orphans
-- ARGV  now, grace, patience, positions...
local patience = tonumber(ARGV[3])
for i = 4, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) and not redis.call('ZSCORE', KEYS[2], ARGV[i]) then
    local since = redis.call('ZSCORE', KEYS[3], ARGV[i])
    if not since then
      redis.call('ZADD', KEYS[3], ARGV[1], ARGV[i])
    elseif tonumber(since) + patience <= tonumber(ARGV[1]) then
      redis.call('ZREM', KEYS[1], ARGV[i])
      redis.call('ZREM', KEYS[3], ARGV[i])
    end
  end
end
redis.call('PEXPIRE', KEYS[3], string.format('%.0f', patience / 1000 * 24))
settle()
return 1
