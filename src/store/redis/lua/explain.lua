-- ARGV: now, job. Answers: 'ok', its head, now, and for a ready job the first thing in its way: 'paused', 'no_worker', 'limited'
-- and until when, or 'waiting' and how many are before it (1,000 at most).
if state_of(h) ~= 'r' then return { 'ok', h, now } end
local queue = queue_of(h)
local settings = call('HMGET', P .. 'q:' .. queue, 'paused', 'rate')
if settings[1] == '1' then return { 'ok', h, now, 'paused' } end

local function served()
  for _, worker in ipairs(call('ZRANGEBYSCORE', P .. 'alive', now, '+inf', 'LIMIT', 0, 1000)) do
    local said = call('HMGET', P .. 'w:' .. worker, 'draining', 'queues')
    if said[1] ~= '1' then
      for _, name in ipairs(cjson.decode(said[2] or '[]')) do
        if name == queue then return true end
      end
    end
  end
  return false
end

if not served() then return { 'ok', h, now, 'no_worker' } end
local rate = settings[2]
if rate and rate ~= '' then
  local at = limit_next('queue:' .. queue, cjson.decode(rate))
  if at > now then return { 'ok', h, now, 'limited', at } end
end

local number, priority, ahead = tonumber(member), priority_of(h), 0
for earlier = 0, priority do
  for _, entry in ipairs(ahead < 1000 and call('ZRANGE', ready_key(queue, earlier), 0, 1000) or {}) do
    local first, n = span_of(entry)
    if earlier == priority and first and first <= number and number < first + n then
      return { 'ok', h, now, 'waiting', min(ahead + number - first, 1000) }
    end
    ahead = ahead + (n or 0)
  end
end
return { 'ok', h, now, 'waiting', min(ahead, 1000) }
