-- Appends events to a run, all of them, under the next numbers.
-- KEYS  record, events
-- ARGV  now, batch id, digest, payloads...
-- Returns the number of the first; 0 where there is no such run, -1 where the batch id is taken.
local stored = redis.call('HMGET', KEYS[1], 'v', 'x', 'n', 'b:' .. ARGV[2])
if not stored[1] or expired(stored[2]) then return 0 end
if stored[4] and ARGV[2] ~= '' then
  local first, digest = string.match(stored[4], '^(%d+):(.*)$')
  return digest == ARGV[3] and tonumber(first) or -1
end
local last = tonumber(stored[3] or '0')
for i = 4, #ARGV do
  redis.call('XADD', KEYS[2], string.format('%.0f-0', last + i - 3), 'a', ARGV[1], 'p', ARGV[i])
end
redis.call('HSET', KEYS[1], 'n', string.format('%.0f', last + #ARGV - 3))
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'b:' .. ARGV[2], string.format('%.0f:%s', last + 1, ARGV[3]))
end
return last + 1
