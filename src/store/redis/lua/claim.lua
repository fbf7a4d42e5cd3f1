-- ARGV: now, queue, worker, n, deadline grace, ticket. Answers: 'ok', now, when a limit allows more (-1: no limit stands
-- in the way), then of each run of jobs side by side: their front ('': heads are whole), first member, how many, and head and body
-- of each. Of a run in a pack: front, first member, minus how many, what stands behind the front of each (as a head goes on, up to
-- the id), their ids, the queue, where their bodies end, the bodies.
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
  for i = #ticket + 1, #last, 19 do
    local first, n = span_of(sub(last, i, i + 18))
    for number = first, first + n - 1 do members[#members + 1] = member_of(number) end
  end
  local again = heads_of(members)
  for i = 1, #members do
    local h = again[i]
    local body = h and state_of(h) == 'u' and holder_of(h) == worker and body_of(members[i])
    if body then
      give('', members[i], 1)
      give_job(h, body)
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
-- So many entries are looked at first: one may stand for a thousand jobs.
local FEW = 3
-- Jobs that stand by themselves, and runs of packs with the place among the former where their turn comes.
local members, runs, wanted = {}, {}, n
for priority = 0, 9 do
  if wanted <= 0 then break end
  local key, size = ready_key(queue, priority), FEW
  local seen, standing, past, less, rest, score = 0, 0, 0, 0, nil, nil
  repeat
    size = min(size, wanted)
    local found = call('ZRANGE', key, seen, seen + size) -- one more than that: the first may be the count
    local all = #found <= size
    for i = 1, #found do
      if wanted <= 0 then break end
      local entry = found[i]
      if entry == COUNT then
        standing = 1
      elseif #entry == 14 then
        members[#members + 1] = entry
        wanted, past = wanted - 1, past + 1
      else
        local number, length = span_of(entry)
        local taken = min(length, wanted)
        runs[#runs + 1] = { number, taken, #members + 1 }
        wanted, past, less = wanted - taken, past + 1, less + length - 1
        if taken < length then
          rest, score = run_text(number + taken, length - taken), call('ZSCORE', key, entry)
          less = less - (length - taken - 1)
        end
      end
    end
    seen, size = seen + #found, wanted
  until all or wanted <= 0
  if past > 0 then call('ZREMRANGEBYRANK', key, standing, standing + past - 1) end
  if rest then call('ZADD', key, score, rest) end
  surplus(key, -less)
end
if #members + #runs == 0 then return reply end
local asked = n - wanted
local old, texts = fetch(P .. 'head', members), fetch(P .. 'body', members)
local deadlines, FIRST = {}, spack('<I4I4I6', 1, 1, now)
local leases, taken = LEASES .. worker, { ticket }
local number = tonumber(settings[3])
local TAIL = number and spack('<I2', number)
local writes, got = {}, 0

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
  local text = texts[i] or (h and body_of(member))
  if not h or not text or state_of(h) ~= 'r' then
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
  taken[#taken + 1] = run_text(tonumber(member), 1)
  got = got + 1
  give('', member, 1)
  give_job(new, text)
end

-- One of a pack that has become an entry of its own: it moves out.
local function claim_packed(i)
  local h = with_packs({ members[i] }, { false })[1]
  old[i], texts[i] = h, h and body_of(members[i])
  claim_one(i)
end

-- The last of the fresh jobs side by side from `i` on that have one timeout.
local function run_from(i, first, most)
  local timeout, last = sub(old[i], 61, 66), i
  most = min(most, i + 999 - first % 1000)
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
  if there ~= '' and there ~= sub(string.rep(NO_FRONT, n), 1, #there) then return false end
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
    give_job(old[k], texts[k])
  end
  taken[#taken + 1] = run_text(first, n)
  got = got + n
  return true
end

-- Claims neighbours of a pack by one write. What hands at the server have left of them is claimed one by one.
local function claim_pack(first, n)
  local pack, at = pack_at(first)
  if pack and at + n <= pack.n and marks_in(pack, at, n) == string.rep(NO_MARK, n) then
    local lease = lease_of(pack.timeout)
    local front = 'u\0\0' .. lease[2] .. FIRST
    local texts_of_run, ends = bodies_in(pack, at, n)
    local claim = sub(front, 1, 3) .. spack('<I2I2', at, n) .. sub(front, 8)
    call('SETRANGE', pack.key, pack.claims + CLAIM * at, claim)
    put_marks(pack, at, spack('<BI2I2', 117, at, 0), n)
    put_run(leases, lease[1], first, n)
    give(front, member_of(first), -n)
    local k = #reply
    reply[k + 1], reply[k + 2], reply[k + 3] = pack.born, ids_in(pack, at, n), pack.queue
    reply[k + 4], reply[k + 5] = ends, texts_of_run
    taken[#taken + 1] = run_text(first, n)
    got = got + n
    return
  end
  for number = first, first + n - 1 do
    members[#members + 1] = member_of(number)
    claim_packed(#members)
  end
end

local i, of_their_own, next_run = 1, #members, 1
while i <= of_their_own or runs[next_run] do
  local run, last = runs[next_run], i
  if run and run[3] <= i then
    claim_pack(run[1], run[2])
    next_run, last = next_run + 1, i - 1
  elseif not old[i] then
    claim_packed(i)
  elseif texts[i] and is_fresh(old[i]) then
    local first = tonumber(members[i])
    last = run_from(i, first, run and run[3] - 1 or of_their_own)
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
count(queue, 'r', -asked)
count(queue, 'u', got)
call('HSET', W, 'claim:' .. queue, table.concat(taken))
flush()
if rate and rate ~= '' and got > 0 then limit_take('queue:' .. queue, rate, got) end
return reply
