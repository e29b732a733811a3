-- Settles token buckets. KEYS: buckets. ARGV, three a key: tokens that were taken, tokens a second, and the burst. Answers
-- the tokens that are there now, below zero where the proxies together took too many. A full bucket is the same as none.
local longest = 30 * 86400 * 1000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {}
for i, key in ipairs(KEYS) do
  local at = 3 * (i - 1)
  local used, rate, burst = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local tokens = burst
  local known = redis.pcall('GET', key)
  if type(known) == 'string' then
    local had, since = known:match('^(%S+) (%S+)$')
    had, since = tonumber(had), tonumber(since)
    if had and since then
      tokens = math.min(burst, had + math.max(0, now - since) * rate / 1000)
    end
  end
  tokens = tokens - used
  local ttl = longest
  if rate > 0 then
    ttl = math.max(1, math.min(longest, math.ceil((burst - tokens) / rate * 1000)))
  end
  local text = string.format('%.6f', tokens)
  redis.call('SET', key, text .. ' ' .. string.format('%.0f', now), 'PX', string.format('%.0f', ttl))
  answer[i] = text
end
return answer
