-- Hands at the server: all leases, all waiting jobs' entries in their indexes, and two waiting jobs' heads. Answers how many
-- entries that were, then the ids of the two.
local P = string.sub(redis.call('KEYS', '*:head')[1], 1, -5)
local gone, ids = 0, {}
for _, member in ipairs(redis.call('ZRANGE', P .. 'due:work', 0, 1)) do
  local h = redis.call('HGET', P .. 'head', member)
  if h then
    ids[#ids + 1] = string.gsub(string.sub(h, 67, 82), '.', function(c) return string.format('%02x', string.byte(c)) end)
    redis.call('HDEL', P .. 'head', member)
  end
end
for _, family in ipairs({ 'lease', 'ready', 'due' }) do
  for _, key in ipairs(redis.call('KEYS', P .. family .. ':*')) do
    gone = gone + redis.call('ZCARD', key)
    redis.call('DEL', key)
  end
end
local answer = { tostring(gone) }
for _, id in ipairs(ids) do answer[#answer + 1] = id end
return answer
