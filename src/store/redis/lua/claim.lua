-- ARGV: now, queue, worker, n, deadline grace, ticket. Answers: 'ok', now, when a limit allows more (-1: no limit stands
-- in the way), then of each run of jobs side by side: their front ('': heads are whole), first member, how many, and head and body
-- of each.
--
-- A claim whose answer was lost is asked again with the same ticket and gets the same jobs: otherwise they would be held by a
-- living worker that doesn't know of them.
call('HDEL', P .. 'gauges', '') -- a removal first: a full server lets the rest be written then
local queue, worker, n, grace, ticket = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local settings = call('HMGET', P .. 'q:' .. queue, 'paused', 'rate', 'number')
if not settings[1] then return { 'no_queue', queue } end
if not call('ZSCORE', P .. 'alive', worker) then return { 'dead' } end
local W = P .. 'w:' .. worker
local said = call('HMGET', W, 'draining', 'claim:' .. queue)
local reply = { 'ok', now, -1 }

-- Of jobs side by side: the front that they have in common ('': the head is whole), the first member, how many.
local function give(front, first, n)
  local k = #reply
  reply[k + 1], reply[k + 2], reply[k + 3] = front, first, n
end

local function give_job(h, body)
  local k = #reply
  reply[k + 1], reply[k + 2] = h, body
end

local last = said[2]
if last and sub(last, 1, #ticket) == ticket then
  local members = {}
  for i = #ticket + 1, #last, 14 do members[#members + 1] = sub(last, i, i + 13) end
  if #members > 0 then
    local again, texts = heads_of(members), fetch(P .. 'body', members)
    for i = 1, #members do
      local h = again[i]
      if h and texts[i] and state_of(h) == 'u' and holder_of(h) == worker then
        give('', members[i], 1)
        give_job(h, texts[i])
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
local number = tonumber(settings[3])
local TAIL = number and spack('<I2', number)
local writes = {}

-- The deadline of jobs with this timeout (6 bytes): as text, and as the middle of a head.
local function lease_of(timeout)
  local lease = deadlines[timeout]
  if not lease then
    local deadline = min(now + sunpack('<I6', timeout) + grace, MAX)
    lease = { string.format('%.0f', deadline), spack('<I6I6', 0, deadline) .. worker }
    deadlines[timeout] = lease
  end
  return lease
end

local function claim_one(i)
  local member, h = members[i], old[i]
  if not h or not texts[i] or state_of(h) ~= 'r' then
    -- Somebody has taken keys away by hand: an entry without its job.
    call('HINCRBY', P .. 'gauges', 'orphans', 1)
    return
  end
  local epoch, attempt = sunpack('<I4I4', h, 32)
  local lease, begun = lease_of(sub(h, 61, 66)), FIRST
  if epoch > 0 or attempt > 0 then begun = spack('<I4I4I6', epoch + 1, attempt + 1, now) end
  local new = 'u' .. sub(h, 2, 2) .. '\0' .. lease[2] .. begun .. sub(h, 46)
  put_head(member, new)
  zput(leases, lease[1], member)
  taken[#taken + 1] = member
  give('', member, 1)
  give_job(new, texts[i])
end

-- The last of the fresh jobs side by side from `i` on that have one timeout.
local function run_from(i, first)
  local timeout, last = sub(old[i], 61, 66), i
  local most = min(#members, i + 999 - first % 1000)
  while last < most do
    local h = old[last + 1]
    if not h or not texts[last + 1] or not is_fresh(h) or sub(h, 61, 66) ~= timeout then break end
    if tonumber(members[last + 1]) ~= first + last + 1 - i then break end
    last = last + 1
  end
  return last
end

-- Claims these by one write. False: their fronts are not empty.
local function claim_run(i, last, first)
  local n = last - i + 1
  local key, at = front_of(first)
  local there = call('GETRANGE', key, at, at + n * FRONT - 1)
  if there ~= '' and there ~= string.rep('\0', #there) then return false end
  if n == 1 or not TAIL then
    for k = i, last do claim_one(k) end
    return true
  end
  local lease = lease_of(sub(old[i], 61, 66))
  local front = 'u\0\0' .. lease[2] .. FIRST
  writes[#writes + 1] = { key, at, string.rep(front .. TAIL, n) }
  give(front, members[i], n)
  for k = i, last do
    zput(leases, lease[1], members[k])
    taken[#taken + 1] = members[k]
    give_job(old[k], texts[k])
  end
  return true
end

local i = 1
while i <= #members do
  local last = i
  if old[i] and texts[i] and is_fresh(old[i]) then
    local first = tonumber(members[i])
    last = run_from(i, first)
    if not claim_run(i, last, first) then
      with_fronts(members, old)
      for k = i, last do claim_one(k) end
    end
  else
    claim_one(i)
  end
  i = last + 1
end
for _, write in ipairs(writes) do call('SETRANGE', write[1], write[2], write[3]) end
count(queue, 'r', -#members)
count(queue, 'u', #taken - 1)
call('HSET', W, 'claim:' .. queue, table.concat(taken))
flush()
if rate and rate ~= '' and #taken > 1 then limit_take('queue:' .. queue, rate, #taken - 1) end
return reply
