-- ARGV: now, queue, worker, n, deadline grace, ticket. Answers: 'ok', now, when a limit allows more (-1: no limit stands
-- in the way), then member, head, body of each job.
--
-- A claim whose answer was lost is asked again with the same ticket and gets the same jobs: otherwise they would be held by a
-- living worker that doesn't know of them.
call('HDEL', P .. 'gauges', '') -- a removal first: a full server lets the rest be written then
local queue, worker, n, grace, ticket = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local settings = call('HMGET', P .. 'q:' .. queue, 'paused', 'rate')
if not settings[1] then return { 'no_queue', queue } end
if not call('ZSCORE', P .. 'alive', worker) then return { 'dead' } end
local W = P .. 'w:' .. worker
local said = call('HMGET', W, 'draining', 'claim:' .. queue)
local reply = { 'ok', now, -1 }

local last = said[2]
if last and sub(last, 1, #ticket) == ticket then
  local members = {}
  for i = #ticket + 1, #last, 14 do members[#members + 1] = sub(last, i, i + 13) end
  if #members > 0 then
    local again, texts = fetch(P .. 'head', members), fetch(P .. 'body', members)
    for i = 1, #members do
      local h = again[i]
      if h and texts[i] and state_of(h) == 'u' and holder_of(h) == worker then
        reply[#reply + 1] = members[i]
        reply[#reply + 1] = h
        reply[#reply + 1] = texts[i]
      end
    end
  end
  return reply
end

if said[1] == '1' or settings[1] == '1' then return reply end
local rate = settings[2]
if rate and rate ~= '' then
  rate = cjson.decode(rate)
  n = min(n, limit_available('queue:' .. queue, rate))
  if n == 0 then
    reply[3] = limit_next('queue:' .. queue, rate)
    return reply
  end
end
local members = {}
for priority = 0, 9 do
  if #members >= n then break end
  local key = ready_key(queue, priority)
  local first = call('ZRANGE', key, 0, n - #members - 1)
  if #first > 0 then
    call('ZREMRANGEBYRANK', key, 0, #first - 1)
    if #members == 0 then
      members = first
    else
      for i = 1, #first do members[#members + 1] = first[i] end
    end
  end
end
if #members == 0 then return reply end
local old, texts = fetch(P .. 'head', members), fetch(P .. 'body', members)
local deadlines, FIRST = {}, spack('<I4I4I6', 1, 1, now)
local leases, taken = P .. 'lease:' .. worker, { ticket }
for i = 1, #members do
  local member, h = members[i], old[i]
  if h and texts[i] and state_of(h) == 'r' then
    local epoch, attempt = sunpack('<I4I4', h, 32)
    local timeout = sub(h, 61, 66)
    local lease = deadlines[timeout]
    if not lease then
      local deadline = min(now + sunpack('<I6', timeout) + grace, MAX)
      lease = { string.format('%.0f', deadline), spack('<I6I6', 0, deadline) .. worker }
      deadlines[timeout] = lease
    end
    local begun = FIRST
    if epoch > 0 or attempt > 0 then begun = spack('<I4I4I6', epoch + 1, attempt + 1, now) end
    local front = 'u\0\0'
    if flags_of(h) > 0 then front = 'u' .. sub(h, 2, 2) .. '\0' end
    local new = front .. lease[2] .. begun .. sub(h, 46)
    put_head(member, new)
    zput(leases, lease[1], member)
    taken[#taken + 1] = member
    local k = #reply
    reply[k + 1] = member
    reply[k + 2] = new
    reply[k + 3] = texts[i]
  else
    -- Somebody has taken keys away by hand: an entry without its job.
    call('HINCRBY', P .. 'gauges', 'orphans', 1)
  end
end
count(queue, 'r', -#members)
count(queue, 'u', #taken - 1)
call('HSET', W, 'claim:' .. queue, table.concat(taken))
flush()
if rate and rate ~= '' and #taken > 1 then limit_take('queue:' .. queue, rate, #taken - 1) end
return reply
