-- ARGV: now, number of runs, n, then the runs (first member, holder, epoch, how many: jobs side by side that are done and left
-- nothing behind), then n settlements (verdict letter, member, holder, epoch, delay, reason, number of children, text), then
-- meta and body of each child in the settlements' order. No job is in two runs. Answers: 'ok', a letter for each job of the
-- runs, a letter for each settlement ('-': the lease was stale), messages.
-- Verdicts: C complete, T retry, Z snooze, D dead, X cancel, L release.
local runs, n = tonumber(ARGV[2]), tonumber(ARGV[3])
local first_child = 4 + runs + n
local unknown = unknown_queue(first_child, (#ARGV - first_child + 1) / 2)
if unknown then return { 'no_queue', unknown } end

local living = {}
local function lives(worker)
  if living[worker] == nil then living[worker] = call('ZSCORE', P .. 'alive', worker) end
  return living[worker]
end

local AWAY = NO_TIME .. NO_TIME .. NOBODY
local ENDED = spack('<I6I6', now, 0) .. NOBODY
local DONE = 'c\0\0' .. ENDED
local more, forgotten, letters, refused, child, completed = {}, {}, {}, 0, first_child, {}
local settlements, members, head, writes, by_run = {}, {}, {}, {}, {}
-- Runs of packs that end here: first number, how many.
local runs_done = {}

local lease_keys, done_lists = {}, {}
local function lease_of(holder)
  local key = lease_keys[holder]
  if not key then
    key = LEASES .. holder
    lease_keys[holder] = key
  end
  return key
end

local function done_of(queue)
  local list = done_lists[queue]
  if not list then
    list = {}
    done_lists[queue] = list
  end
  return list
end

-- The job's new head, by verdict. A job that somebody wants stopped is cancelled where it would run again.
local function ended(s, member, h)
  local verdict, text = sub(s, 1, 1), sub(s, 45)
  local flags, attempt = flags_of(h), attempt_of(h)
  local quiet = bit.band(flags, 255 - STOP)
  if verdict == 'C' then
    if text ~= '' then
      more[#more + 1] = 'r' .. member
      more[#more + 1] = text
      quiet = bit.bor(quiet, RESULT)
    end
    completed[queue_of(h)] = (completed[queue_of(h)] or 0) + 1
    return 'c' .. string.char(quiet, 0) .. ENDED .. sub(h, 32)
  end
  local asked = has(h, STOP)
  if asked and (verdict == 'T' or verdict == 'Z' or verdict == 'L') then
    verdict, text = 'X', 'cancelled while it was running'
  end
  if verdict == 'X' or verdict == 'D' then
    fail(member, attempt, text)
    local state = verdict == 'D' and 'd' or 'x'
    return state .. string.char(bit.bor(quiet, FAILED), string.byte(s, 42)) .. ENDED .. sub(h, 32)
  end
  if has(h, PROGRESS) and verdict ~= 'Z' then forgotten[#forgotten + 1] = 'p' .. member end
  quiet = bit.band(quiet, 255 - PROGRESS)
  if verdict == 'L' then
    return 'r' .. string.char(quiet, 0) .. AWAY .. sub(h, 32, 35) .. spack('<I4', math.max(attempt - 1, 0)) .. sub(h, 40)
  end
  local run_at = spack('<I6', min(now + sunpack('<I6', s, 36), MAX))
  if verdict == 'T' then
    fail(member, attempt, text)
    quiet = bit.bor(quiet, FAILED)
  else
    attempt = math.max(attempt - 1, 0)
    more[#more + 1] = 'p' .. member
    more[#more + 1] = text
    quiet = bit.bor(quiet, PROGRESS)
  end
  return 's' .. string.char(quiet, 0) .. AWAY .. sub(h, 32, 35) .. spack('<I4', attempt) .. sub(h, 40, 45) .. run_at
    .. sub(h, 52)
end

-- The common end: nothing to keep, nothing to start, nobody asked. Done without detours.
local function plain(s, member, h, holder)
  if #s ~= 44 or string.byte(s) ~= 67 or string.byte(h, 2) ~= 0 then return false end
  local few, many = string.byte(s, 43, 44)
  if few > 0 or many > 0 then return false end
  local new = DONE .. sub(h, 32)
  head[member] = new
  if packed[member] then
    local pack, at = pack_at(tonumber(member))
    return complete(pack, at, 1, sub(h, 16, 35))
  end
  put_head(member, new)
  ztake(lease_of(holder), member)
  local queue = sub(h, 83)
  local ends = done_of(queue)
  local k = #ends
  ends[k + 1] = NOW
  ends[k + 2] = member
  return true
end

-- Completes a whole run where all its fronts say that this holder runs it. False: they must be looked at one by one.
local function complete_run(first, lease, n)
  local pack, place = pack_at(tonumber(first))
  if pack then
    if not lives(sub(lease, 1, 16)) or not complete(pack, place, n, lease) then return false end
    runs_done[#runs_done + 1] = { tonumber(first), n }
    return true
  end
  -- Alone and in no pack: as well off as a settlement.
  if n == 1 then return false end
  local key, at = front_of(tonumber(first))
  local there = call('GETRANGE', key, at, at + n * FRONT - 1)
  local front = sub(there, 1, FRONT)
  if #there ~= n * FRONT or string.byte(front) ~= 117 or sub(front, 16, 35) ~= lease then return false end
  if there ~= string.rep(front, n) or not lives(sub(lease, 1, 16)) then return false end
  local queue = call('HGET', P .. 'numbers', (sunpack('<I2', front, 46)))
  if not queue then return false end
  writes[#writes + 1] = { key, at, string.rep(DONE .. sub(front, 32), n) }
  local held, ends, number = lease_of(sub(lease, 1, 16)), done_of(queue), tonumber(first)
  for k = number, number + n - 1 do
    local member = member_of(k)
    ztake(held, member)
    local at_end = #ends
    ends[at_end + 1] = NOW
    ends[at_end + 2] = member
    by_run[member] = true
  end
  return true
end

local run_letters = {}
for i = 1, runs do
  local run = ARGV[i + 3]
  local first, lease, length = sub(run, 1, 14), sub(run, 15, 34), (sunpack('<I4', run, 35))
  if complete_run(first, lease, length) then
    run_letters[i] = string.rep('c', length)
  else
    run_letters[i] = { #settlements + 1, #settlements + length }
    for k = tonumber(first), tonumber(first) + length - 1 do
      settlements[#settlements + 1] = 'C' .. member_of(k) .. lease .. string.rep('\0', 9)
    end
  end
end
-- One that stands in a run and once more by itself has ended before.
for _, run in ipairs(n > 0 and runs_done or {}) do
  for number = run[1], run[1] + run[2] - 1 do by_run[member_of(number)] = true end
end
local expanded = #settlements
for i = 1, n do settlements[expanded + i] = ARGV[i + 3 + runs] end
for i = 1, #settlements do members[i] = sub(settlements[i], 2, 15) end
local found = heads_of(members)
for i = 1, #members do head[members[i]] = not by_run[members[i]] and found[i] end

for i = 1, #settlements do
  local s, member = settlements[i], members[i]
  local h = head[member]
  local holder = sub(s, 16, 31)
  local holds = h and string.byte(h) == 117 and sub(h, 16, 35) == sub(s, 16, 35) and lives(holder)
  local children = 0
  if holds and plain(s, member, h, holder) then
    letters[i] = 'c'
  elseif holds then
    children = sunpack('<I2', s, 43)
    leave(member, h)
    local new = ended(s, member, h)
    head[member] = new
    put_head(member, new)
    enter(member, new)
    local state = state_of(new)
    if state == 'c' or state == 'd' or state == 'x' then release_key_of(member, h) end
    for k = 0, children - 1 do place(ARGV[child + 2 * k], ARGV[child + 2 * k + 1]) end
    letters[i] = state
  else
    refused = refused + 1
    children = sunpack('<I2', s, 43)
    letters[i] = '-'
  end
  child = child + 2 * children
end

for queue, ends in pairs(done_lists) do
  local done = #ends / 2
  local list = zadds[end_key(queue, 'c')]
  if list then
    for i = 1, #ends do list[#list + 1] = ends[i] end
  else
    zadds[end_key(queue, 'c')] = ends
  end
  count(queue, 'u', -done)
  count(queue, 'c', done)
  completed[queue] = (completed[queue] or 0) + done
end
-- A removal, so that a full server lets the rest be written even where all were refused.
call('HDEL', P .. 'gauges', '')
for _, write in ipairs(writes) do call('SETRANGE', write[1], write[2], write[3]) end
write_completed(ztake, count)
flush_new()
flush()
if #forgotten > 0 then slices('HDEL', P .. 'more', forgotten) end
if #more > 0 then slices('HSET', P .. 'more', more) end
for queue, by in pairs(completed) do call('HINCRBY', P .. 'q:' .. queue, 'completed', by) end
if refused > 0 then call('HINCRBY', P .. 'gauges', 'refusals', refused) end
for i = 1, runs do
  local run = run_letters[i]
  if type(run) == 'table' then run_letters[i] = table.concat(letters, '', run[1], run[2]) end
end
return told({ 'ok', table.concat(run_letters), table.concat(letters, '', expanded + 1) })
