-- Completing jobs of packs, those that were claimed together by one look and one write. All is looked at before the first write.
local ENDED = spack('<I6I6', now, 0) .. NOBODY
local DONE = 'c\0\0' .. ENDED
local claims, ends = {}, {}

-- What was claimed together with the job at a place, as its fronts were. Nil: it does not run.
local function claimed_with(pack, place)
  for i = 1, #claims do
    local one = claims[i]
    if one.pack == pack and place >= one.at and place < one.at + one.n then return one end
  end
  local front = place < pack.n and fronts_in(pack, place, 1) or ''
  if string.byte(front) ~= 117 then return nil end
  local at, n = sunpack('<I2I2', front, 4)
  if place < at or place >= at + n or at + n > pack.n then at, n = place, 1 end
  local one = { pack = pack, at = at, n = n, front = front, fronts = fronts_in(pack, at, n), done = {} }
  claims[#claims + 1] = one
  return one
end

local function is_run_by(one, lease, from, n)
  if sub(one.front, 16, 35) ~= lease then return false end
  from = PACK_FRONT * from
  return sub(one.fronts, from + 1, from + PACK_FRONT * n) == (n == 1 and one.front or string.rep(one.front, n))
end

local function note_done(one, from, n)
  local done, queue = one.done, ends[one.pack.queue]
  local k = #done
  done[k + 1], done[k + 2] = from, n
  if not queue then
    queue = { jobs = 0 }
    ends[one.pack.queue] = queue
  end
  k = #queue
  queue[k + 1], queue[k + 2] = NOW, run_text(one.pack.first + one.at + from, n)
  queue.jobs = queue.jobs + n
end

-- Notes that neighbours of a pack are done. False, and nothing is noted: this lease does not run them all.
local function complete(pack, place, n, lease)
  local one = claimed_with(pack, place)
  if not one then return false end
  if place + n <= one.at + one.n then
    if not is_run_by(one, lease, place - one.at, n) then return false end
    note_done(one, place - one.at, n)
    return true
  end
  -- What was claimed in two steps stands side by side.
  local parts, past = {}, place + n
  while place < past do
    one = claimed_with(pack, place)
    local length = one and min(past, one.at + one.n) - place
    if not one or not is_run_by(one, lease, place - one.at, length) then return false end
    parts[#parts + 1] = { one, place - one.at, length }
    place = place + length
  end
  for _, part in ipairs(parts) do note_done(part[1], part[2], part[3]) end
  return true
end

-- Writes the fronts of those that are done, and takes the lease away with the last that ran.
local function write_claim(one, ztake)
  local done, pieces, from, done_front = one.done, {}, 0, DONE .. sub(one.front, 32)
  local in_order = {}
  for k = 1, #done, 2 do in_order[#in_order + 1] = k end
  table.sort(in_order, function(a, b) return done[a] < done[b] end)
  for _, k in ipairs(in_order) do
    local first, n = done[k], done[k + 1]
    if first > from then pieces[#pieces + 1] = sub(one.fronts, PACK_FRONT * from + 1, PACK_FRONT * first) end
    pieces[#pieces + 1] = string.rep(done_front, n)
    from = first + n
  end
  pieces[#pieces + 1] = sub(one.fronts, PACK_FRONT * from + 1)
  local fronts, first = table.concat(pieces), done[in_order[1]]
  local key, entry = LEASES .. sub(one.front, 16, 31), run_text(one.pack.first + one.at, one.n)
  if string.find(fronts, one.front, 1, true) then
    entry = call('ZSCORE', key, entry)
  elseif call('ZREM', key, entry) == 1 then
    surplus(key, 1 - one.n)
  else
    entry = false
  end
  if not entry then
    -- They have become entries of their own.
    for k = 1, #done, 2 do
      for nth = done[k], done[k] + done[k + 1] - 1 do ztake(key, member_of(one.pack.first + one.at + nth)) end
    end
  end
  call('SETRANGE', one.pack.key, PACK_HEAD + PACK_FRONT * (one.at + first), sub(fronts, PACK_FRONT * first + 1, PACK_FRONT * from))
end

-- Writes all that was noted. `ztake` and `count` as in write.lua.
local function write_completed(ztake, count)
  for i = 1, #claims do
    if #claims[i].done > 0 then write_claim(claims[i], ztake) end
  end
  for queue, list in pairs(ends) do
    local key = end_key(queue, 'c')
    slices('ZADD', key, list)
    surplus(key, list.jobs - #list / 2)
    count(queue, 'u', -list.jobs)
    count(queue, 'c', list.jobs)
    call('HINCRBY', P .. 'q:' .. queue, 'completed', list.jobs)
  end
end
