-- Puts a run into its app's list, before its record is written.
-- KEYS  index, expiring, orphans
-- ARGV  now, grace, position
prune()
redis.call('ZADD', KEYS[1], 0, ARGV[3])
redis.call('ZREM', KEYS[2], ARGV[3])
redis.call('ZREM', KEYS[3], ARGV[3])
redis.call('PERSIST', KEYS[1])
redis.call('PERSIST', KEYS[2])
return 1
