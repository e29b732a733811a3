-- Binds users to servers. KEYS: entries of tables. ARGV, four a key: the server, when it may replace another ("any", "none":
-- never, "is": that one), which one, and milliseconds to live. Answers '' where it is bound, else the server that stays.
local found = {}
for i, key in ipairs(KEYS) do
  local at = 4 * (i - 1)
  local server, how, expected, ttl = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local known = redis.pcall('GET', key)
  if type(known) ~= 'string' or known == server or how == 'any' or (how == 'is' and known == expected) then
    redis.call('SET', key, server, 'PX', ttl)
    found[i] = ''
  else
    found[i] = known
  end
end
return found
