-- ARGV: now, about how many jobs to look at. Looks for what hands at the server have left behind and puts it right, a slice a
-- call; where the next slice begins stands in gauges. Answers: 1 when the last slice was the last of a whole pass, then how
-- often: an index entry was put back, a lease was put back or its holder's death noted, a job without its body was dropped, an
-- id was put back or dropped with what it named, a unique key was put right, a block or counter was.
local G = P .. 'gauges'
local entries, leases, dropped, names, keyrows, counters = 0, 0, 0, 0, 0, 0
local over = 1

local function slice_of(name)
  local step = call('HSCAN', P .. name, call('HGET', G, 'sweep:' .. name) or '0', 'COUNT', ARGV[2])
  call('HSET', G, 'sweep:' .. name, step[1])
  if step[1] ~= '0' then over = 0 end
  return step[2]
end

local function alive(worker) return call('ZSCORE', P .. 'alive', worker) end

-- Neither alive nor silent for less than its lease: such a one may still beat.
local function is_dead(worker)
  if alive(worker) then return false end
  if call('ZSCORE', P .. 'ended', worker) then return true end
  local said = call('HMGET', P .. 'w:' .. worker, 'last_beat', 'lease')
  return (tonumber(said[1] or 0) + tonumber(said[2] or 0)) < now
end

local function index_of(h)
  local state, queue = state_of(h), queue_of(h)
  if state == 'r' then return ready_key(queue, priority_of(h)), run_at_of(h) end
  if state == 's' then return due_key(queue), run_at_of(h) end
  if state == 'u' then return P .. 'lease:' .. holder_of(h), (sunpack('<I6', h, 24)) end
  return end_key(queue, state), finished_of(h)
end

local function check_held(one, h)
  local holder = holder_of(h)
  if has(h, STOP) then call('SADD', P .. 'stop:' .. holder, one) end
  -- The next rescue takes what it finds there, as from any dead worker.
  if is_dead(holder) then leases = leases + call('SADD', P .. 'bereft', holder) end
end

local bytes = 0
local function check_key(one, h, size)
  local state = state_of(h)
  if not has(h, KEYED) or (state ~= 's' and state ~= 'r' and state ~= 'u') then return end
  bytes = bytes + size
  if bytes > 4194304 then return end
  local key = key_of(call('HGET', P .. 'body', one))
  if not key_row(key) then
    hold_key(key, id_of(h), now)
    keyrows = keyrows + 1
  end
end

-- A removal first: repairs work on a full server.
call('HDEL', G, '')
local blocks, seen, ids_back = {}, {}, {}
local scanned, members, jobs, wanted = slice_of('head'), {}, {}, {}
for i = 1, #scanned, 2 do
  local one = scanned[i]
  if not seen[one] then
    seen[one] = true
    members[#members + 1] = one
    jobs[#jobs + 1] = scanned[i + 1]
    wanted[#wanted + 1] = id_of(scanned[i + 1])
  end
end
local known = fetch(P .. 'ids', wanted)
for i = 1, #members do
  local one, h = members[i], jobs[i]
  local state, size = state_of(h), call('HSTRLEN', P .. 'body', one)
  if size == 0 then
    -- Who runs it has read its body, and may end it.
    if state ~= 'u' or is_dead(holder_of(h)) then
      leave(one, h)
      drop(one, h)
      if known[i] ~= one then gone_ids[#gone_ids] = nil end
      dropped = dropped + 1
    end
  else
    if not known[i] then
      ids_back[#ids_back + 1] = wanted[i]
      ids_back[#ids_back + 1] = one
      names = names + 1
    end
    local key, score = index_of(h)
    if not call('ZSCORE', key, one) then
      zput(key, score, one)
      if state == 'r' then messages[#messages + 1] = queue_of(h) end
      if state == 's' then messages.earliest = min(messages.earliest or MAX, score) end
      if state == 'u' then leases = leases + 1 else entries = entries + 1 end
    end
    if state == 'u' then check_held(one, h) end
    check_key(one, h, size)
    blocks[floor(tonumber(one) / 1000)] = true
  end
end

-- Ids whose job has no head, with all that is left of it.
scanned = slice_of('ids')
local named, whose = {}, {}
for i = 1, #scanned, 2 do
  named[#named + 1] = scanned[i + 1]
  whose[#whose + 1] = scanned[i]
end
local headed = fetch(P .. 'head', named)
for i = 1, #named do
  if not headed[i] and not seen[named[i]] then
    seen[named[i]] = true
    drop(named[i], 'x' .. string.char(63) .. string.rep('\0', 64) .. whose[i])
    names = names + 1
  end
end

-- Unique keys that a job holds which is not there or has ended.
scanned = slice_of('keys')
local held_keys, holders = {}, {}
for i = 1, #scanned, 2 do
  local live, keep_until, id = sunpack('<BI6c16', scanned[i + 1])
  if live == 1 then
    held_keys[#held_keys + 1] = scanned[i]
    holders[#holders + 1] = id
  elseif not call('ZSCORE', P .. 'keys_expiry', scanned[i]) then
    call('ZADD', P .. 'keys_expiry', keep_until, scanned[i])
    keyrows = keyrows + 1
  end
end
local holding = fetch(P .. 'ids', holders)
for i = 1, #held_keys do
  local h = holding[i] and call('HGET', P .. 'head', holding[i])
  local state = h and state_of(h)
  -- An id that was only just put back is not without its job.
  if state ~= 's' and state ~= 'r' and state ~= 'u' and (h or #ids_back == 0) then
    release_key(held_keys[i], holders[i])
    keyrows = keyrows + 1
  end
end
flush()
flush_gone()
slices('HSET', P .. 'ids', ids_back)

-- One block a call: it is a thousand numbers to look at.
for block in pairs(blocks) do
  if not call('ZSCORE', P .. 'blocks', block) or not call('HGET', P .. 'block_jobs', block) then
    local numbers, there = {}, 0
    for number = block * 1000, block * 1000 + 999 do numbers[#numbers + 1] = string.format('%014d', number) end
    local found = fetch(P .. 'head', numbers)
    for i = 1, #numbers do
      if found[i] then there = there + 1 end
    end
    if there > 0 then
      call('ZADD', P .. 'blocks', block, block)
      call('HSET', P .. 'block_jobs', block, there)
      counters = counters + 1
      break
    end
  end
end

-- Counters against the indexes, whose sizes cost nothing.
local function recount(state, queue, is)
  local field = state .. ':' .. queue
  if tonumber(call('HGET', P .. 'counts', field) or 0) ~= is then
    call('HSET', P .. 'counts', field, is)
    counters = counters + 1
  end
end

local queues, running = call('SMEMBERS', P .. 'queues'), 0
for _, queue in ipairs(queues) do
  local ready = 0
  for priority = 0, 9 do ready = ready + call('ZCARD', ready_key(queue, priority)) end
  recount('r', queue, ready)
  recount('s', queue, call('ZCARD', due_key(queue)))
  for _, state in ipairs({ 'c', 'd', 'x' }) do recount(state, queue, call('ZCARD', end_key(queue, state))) end
  running = running + tonumber(call('HGET', P .. 'counts', 'u:' .. queue) or 0)
end
local function each_holder(act)
  for _, worker in ipairs(call('ZRANGE', P .. 'alive', 0, 999)) do act(worker) end
  for _, worker in ipairs(call('SRANDMEMBER', P .. 'bereft', 1000)) do
    if not alive(worker) then act(worker) end
  end
end
local held = 0
each_holder(function(worker) held = held + call('ZCARD', P .. 'lease:' .. worker) end)
if held ~= running and held <= 1000 then
  local by_queue = {}
  each_holder(function(worker)
    for _, h in ipairs(fetch(P .. 'head', call('ZRANGE', P .. 'lease:' .. worker, 0, -1))) do
      if h and state_of(h) == 'u' then by_queue[queue_of(h)] = (by_queue[queue_of(h)] or 0) + 1 end
    end
  end)
  for _, queue in ipairs(queues) do recount('u', queue, by_queue[queue] or 0) end
end

local repaired = entries + leases + dropped + names + keyrows + counters
if repaired > 0 then call('HINCRBY', G, 'repaired', repaired) end
return told({ over, entries, leases, dropped, names, keyrows, counters })
