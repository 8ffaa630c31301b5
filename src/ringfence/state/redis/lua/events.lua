-- Reads events in order, a few at a time, so that neither this nor the answer grows without bound.
-- KEYS  record, events
-- ARGV  now, after, most events, bytes of payloads after which it ends
-- Returns lines of `time:payload`, or nil where there is no such run.
local stored = redis.call('HMGET', KEYS[1], 'v', 'x')
if not stored[1] or expired(stored[2]) then return nil end
local most, most_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local rows, bytes, from = {}, 0, '(' .. ARGV[2] .. '-1'
while #rows < most and bytes < most_bytes do
  local found = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', math.min(16, most - #rows))
  if #found == 0 then break end
  for _, entry in ipairs(found) do
    from = '(' .. entry[1]
    local fields = entry[2]
    if fields[1] == 'a' and bytes < most_bytes then
      rows[#rows + 1] = fields[2] .. ':' .. fields[4]
      bytes = bytes + #fields[4]
    end
  end
end
return table.concat(rows, '\n')
