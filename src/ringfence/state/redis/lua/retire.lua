-- Notes when a run that has ended will leave its app's list.
-- KEYS  index, expiring, due
-- ARGV  now, grace, position, when, app
if not redis.call('ZSCORE', KEYS[1], ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
settle()
-- By this a purge finds the apps that have something to remove. It outlives none of them.
redis.call('ZADD', KEYS[3], 'LT', ARGV[4], ARGV[5])
if redis.call('PTTL', KEYS[3]) < tonumber(left(ARGV[4])) then
  redis.call('PEXPIRE', KEYS[3], left(ARGV[4]))
end
return 1
