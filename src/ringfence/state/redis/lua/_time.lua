-- Times are texts of 18 digits, microseconds since 1970: Lua's numbers would round them.
local function expired(at)
  return at and at <= ARGV[1]
end
