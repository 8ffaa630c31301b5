-- The next positions of an app's list.
-- KEYS  index, expiring
-- ARGV  now, grace, from, how many
if prune() > 0 then settle() end
return table.concat(
  redis.call('ZRANGEBYLEX', KEYS[1], ARGV[3], '+', 'LIMIT', 0, ARGV[4]), '\n')
