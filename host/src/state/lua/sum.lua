-- Adds to sums. KEYS: sums. ARGV, two a key: what is added, and milliseconds to live from its making, 0 for ever. Answers, two
-- a key, the sum and the milliseconds that it has left.
local answer = {}
for i, key in ipairs(KEYS) do
  local delta, ttl = ARGV[2 * i - 1], ARGV[2 * i]
  local sum = redis.pcall('INCRBY', key, delta)
  if type(sum) == 'table' then
    redis.call('SET', key, delta)
  end
  local left = redis.call('PTTL', key)
  if ttl ~= '0' and left == -1 then
    redis.call('PEXPIRE', key, ttl)
    left = tonumber(ttl)
  end
  answer[2 * i - 1] = redis.call('GET', key)
  answer[2 * i] = tostring(left)
end
return answer
