-- An app's runs: KEYS[1] has all of them, KEYS[2] those that expire, by when. Times are numbers of
-- microseconds by the caller's clock; ARGV[1] is now, and ARGV[2] for how many milliseconds more keys
-- stay. This is for how many they do.
local function left(at)
  local more = math.ceil((tonumber(at) - tonumber(ARGV[1])) / 1000)
  return string.format('%.0f', math.max(1, more) + tonumber(ARGV[2]))
end

-- The keys go with the last run, once every run has a time to go.
local function settle()
  local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
  if last and redis.call('ZCARD', KEYS[1]) == redis.call('ZCARD', KEYS[2]) then
    redis.call('PEXPIRE', KEYS[1], left(last))
    redis.call('PEXPIRE', KEYS[2], left(last))
  else
    redis.call('PERSIST', KEYS[1])
    redis.call('PERSIST', KEYS[2])
  end
end

-- Some work each time, so that no call pays for all: a page reads as many.
local function prune()
  local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, 100)
  if #gone > 0 then
    redis.call('ZREM', KEYS[1], unpack(gone))
    redis.call('ZREM', KEYS[2], unpack(gone))
  end
  return #gone
end
