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
local priority = priority_of(h)
local ahead = call('ZRANK', P .. 'ready:' .. queue .. ':' .. priority, member) or 0
for earlier = 0, priority - 1 do ahead = ahead + call('ZCARD', P .. 'ready:' .. queue .. ':' .. earlier) end
return { 'ok', h, now, 'waiting', min(ahead, 1000) }
