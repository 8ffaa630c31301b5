-- Stores the record that create and replace are given. `before` is the expiry that was stored, and
-- `last` the number of the last event.
local function put(before, last)
  redis.call('HSET', KEYS[1], 'v', ARGV[2], 'w', ARGV[3], 'j', ARGV[4])
  if ARGV[7] ~= '' then
    redis.call('ZADD', KEYS[3], ARGV[7], ARGV[8])
  else
    redis.call('ZREM', KEYS[3], ARGV[8])
  end
  if ARGV[9] ~= '' then
    -- Wakes whoever waits for events: an entry behind the last one, which takes no number. It is
    -- refused, and not needed, where there is one already. After it the key is there, so that what
    -- is appended later goes with the run.
    redis.pcall('XADD', KEYS[2], (last or '0') .. '-1', 'e', '')
  end
  if ARGV[5] ~= '' then
    redis.call('HSET', KEYS[1], 'x', ARGV[5])
    -- In this order: no event is stored once the record has gone.
    redis.call('PEXPIRE', KEYS[1], ARGV[6])
    redis.call('PEXPIRE', KEYS[2], ARGV[6])
  elseif before then
    redis.call('HDEL', KEYS[1], 'x')
    redis.call('PERSIST', KEYS[1])
    redis.call('PERSIST', KEYS[2])
  end
end
