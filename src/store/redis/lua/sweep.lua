-- ARGV: now, about how many jobs to look at. Puts right what hands at the server have left behind and the walk of repair.lua does
-- not see, for that begins at blocks and heads: a slice a call; where the next slice begins stands in gauges. Answers: 1 when the
-- last slice was the last of a whole pass, then how often: an entry without a job was taken out, a finished job without its body was
-- dropped, an id was put back or dropped with what it named, a unique key, a block or counter was put right.
local G = P .. 'gauges'
local entries, dropped, names, keyrows, counters = 0, 0, 0, 0, 0
local over = 1

local function slice_of(name)
  local step = call('HSCAN', P .. name, call('HGET', G, 'sweep:' .. name) or '0', 'COUNT', ARGV[2])
  call('HSET', G, 'sweep:' .. name, step[1])
  if step[1] ~= '0' then over = 0 end
  return step[2]
end

local function alive(worker) return call('ZSCORE', P .. 'alive', worker) end

local bytes = 0
local function check_key(one, h, size)
  local state = state_of(h)
  if not has(h, KEYED) or (state ~= 's' and state ~= 'r' and state ~= 'u') then return end
  bytes = bytes + size
  if bytes > 4194304 then return end
  local key = key_of(body_of(one))
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
with_fronts(members, jobs)
local known = fetch(P .. 'ids', wanted)
for i = 1, #members do
  local one, h = members[i], jobs[i]
  local state, size = state_of(h), call('HSTRLEN', P .. 'body', one)
  if size == 0 then
    -- A pack that it came in may still hold it.
    local body = body_of(one)
    size = body and #body or 0
  end
  if size == 0 then
    -- A waiting one is taken away by repair.lua; who runs it has read its body, and may end it.
    if state == 'c' or state == 'd' or state == 'x' then
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
    -- Only a flag tells that somebody wants it stopped.
    if state == 'u' and has(h, STOP) then call('SADD', P .. 'stop:' .. holder_of(h), one) end
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
local headed = heads_of(named)
for i = 1, #named do
  if packed[named[i]] then blocks[floor(tonumber(named[i]) / 1000)] = true end
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
  local h = holding[i] and head_of(holding[i])
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
    for number = block * 1000, block * 1000 + 999 do numbers[#numbers + 1] = member_of(number) end
    local found = heads_of(numbers)
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

-- The members that an index's entries stand for, and the entry of each.
local function spread(there, most)
  local members, entry_of, looked = {}, {}, 0
  for i = 1, #there do
    if #members >= most then break end
    local first, n = span_of(there[i])
    for number = first or 1, first and first + n - 1 or 0 do
      members[#members + 1] = member_of(number)
      entry_of[#members] = there[i]
    end
    looked = i
  end
  return members, entry_of, looked
end

-- Takes out of an index those of its members that are not right there. Answers how many entries it has less.
local function keep_right(key, members, entry_of, right)
  local wrong, less = {}, 0
  for i = 1, #members do
    if not right(i) then wrong[entry_of[i]] = true end
  end
  for i = 1, #members do
    local entry = entry_of[i]
    if wrong[entry] == true then
      local _, n = span_of(entry)
      wrong[entry] = call('ZSCORE', key, entry)
      call('ZREM', key, entry)
      surplus(key, 1 - n)
      less = less + 1
    end
    if wrong[entry] and right(i) then
      call('ZADD', key, wrong[entry], members[i])
      less = less - 1
    elseif wrong[entry] then
      entries = entries + 1
    end
  end
  return less
end

-- Of an index that fits one look: how many jobs it has more than entries.
local function check_count(key)
  local more = 0
  for _, entry in ipairs(call('ZRANGE', key, 0, -1)) do
    local _, n = span_of(entry)
    more = more + (n or 1) - 1
  end
  local said = -tonumber(call('ZSCORE', key, COUNT) or 0)
  if said ~= more then
    surplus(key, more - said)
    entries = entries + 1
  end
end

-- Entries without a job in their state: about a thousand of all indexes a call.
local function check_indexes(indexes, at)
  over = 0
  local nth, rank = string.match(at or '1:0', '(%d+):(%d+)')
  nth, rank = tonumber(nth), tonumber(rank)
  local budget = 1000
  while budget > 0 and indexes[nth] do
    local key = indexes[nth]
    local there = call('ZRANGE', key, rank, rank + budget - 1)
    local members, entry_of, looked = spread(there, budget)
    local found = heads_of(members)
    local less = keep_right(key, members, entry_of, function(i) return found[i] and index_of(found[i]) == key end)
    if rank == 0 and #there < budget and looked == #there then check_count(key) end
    if #there < budget and looked == #there then nth, rank = nth + 1, 0 else rank = rank + looked - less end
    budget = budget - math.max(#members, 1)
  end
  if indexes[nth] then call('HSET', G, 'sweep:index', nth .. ':' .. rank) else call('HDEL', G, 'sweep:index') end
end

-- Counters against the indexes, whose sizes cost nothing.
local function recount(state, queue, is)
  local field = state .. ':' .. queue
  if tonumber(call('HGET', P .. 'counts', field) or 0) ~= is then
    call('HSET', P .. 'counts', field, is)
    counters = counters + 1
  end
end

local function each_holder(act)
  for _, worker in ipairs(call('ZRANGE', P .. 'alive', 0, 999)) do act(worker) end
  for _, worker in ipairs(call('SRANDMEMBER', P .. 'bereft', 1000)) do
    if not alive(worker) then act(worker) end
  end
end
local queues, indexes, placed, held = call('SMEMBERS', P .. 'queues'), {}, 0, 0
table.sort(queues)
for _, queue in ipairs(queues) do
  for priority = 0, 9 do indexes[#indexes + 1] = ready_key(queue, priority) end
  indexes[#indexes + 1] = due_key(queue)
  for _, state in ipairs({ 'c', 'd', 'x' }) do indexes[#indexes + 1] = end_key(queue, state) end
end
each_holder(function(worker) held = held + size_of(LEASES .. worker) end)
local running = 0
for _, queue in ipairs(queues) do running = running + tonumber(call('HGET', P .. 'counts', 'u:' .. queue) or 0) end
-- Where the rest of a pass has come to its end, or where this has begun.
local at, damaged = call('HGET', G, 'sweep:index'), false
if at then
  damaged = true
  check_indexes(indexes, at)
elseif over == 1 then
  local jobs_there = 0
  for _, key in ipairs(indexes) do placed = placed + size_of(key) end
  for _, n in ipairs(call('HVALS', P .. 'block_jobs')) do jobs_there = jobs_there + tonumber(n) end
  damaged = placed + running ~= jobs_there
  if damaged then check_indexes(indexes) end
end

for _, queue in ipairs(queues) do
  local ready = 0
  for priority = 0, 9 do ready = ready + size_of(ready_key(queue, priority)) end
  recount('r', queue, ready)
  recount('s', queue, size_of(due_key(queue)))
  for _, state in ipairs({ 'c', 'd', 'x' }) do recount(state, queue, size_of(end_key(queue, state))) end
end
if (damaged or held ~= running) and held <= 1000 then
  local by_queue = {}
  each_holder(function(worker)
    local key = LEASES .. worker
    local mine, entry_of = spread(call('ZRANGE', key, 0, -1), math.huge)
    local found, used = heads_of(mine), {}
    for i = 1, #mine do
      local h = found[i]
      if h and state_of(h) == 'u' and holder_of(h) == worker then
        by_queue[queue_of(h)] = (by_queue[queue_of(h)] or 0) + 1
        used[entry_of[i]] = true
      end
    end
    -- A run stays until the last of its jobs is done.
    keep_right(key, mine, entry_of, function(i) return used[entry_of[i]] end)
  end)
  for _, queue in ipairs(queues) do recount('u', queue, by_queue[queue] or 0) end
end

local repaired = entries + dropped + names + keyrows + counters
if repaired > 0 then call('HINCRBY', G, 'repaired', repaired) end
return told({ over, entries, dropped, names, keyrows, counters })
