-- Completing jobs of packs, those that were claimed together by one look and one write. All is looked at before the first write.
local claims, ends = {}, {}

-- What was claimed together with the job at a place, as its marks were. Nil: it does not run.
local function claimed_with(pack, place)
  for i = 1, #claims do
    local one = claims[i]
    if one.pack == pack and place >= one.at and place < one.at + one.n then return one end
  end
  local mark = place < pack.n and marks_in(pack, place, 1) or NO_MARK
  local letter, by = mark_at(mark, 0)
  if letter ~= 117 then return nil end
  local claim = claim_in(pack, by)
  local at, n = sunpack('<I2I2', claim, 4)
  if place < at or place >= at + n or at + n > pack.n then at, n = place, 1 end
  local one = { pack = pack, at = at, n = n, by = by, mark = mark, marks = marks_in(pack, at, n), claim = claim, done = {} }
  claims[#claims + 1] = one
  return one
end

local function is_run_by(one, lease, from, n)
  if sub(one.claim, 16, 35) ~= lease then return false end
  return sub(one.marks, MARK * from + 1, MARK * (from + n)) == string.rep(one.mark, n)
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

-- Writes the marks of those that are done, and takes the lease away with the last that ran.
local function write_claim(one, ztake)
  local pack, done, pieces, from, in_order = one.pack, one.done, {}, 0, {}
  for k = 1, #done, 2 do in_order[#in_order + 1] = k end
  table.sort(in_order, function(a, b) return done[a] < done[b] end)
  local first = done[in_order[1]]
  local done_mark = spack('<BI2I2', 99, one.by, one.at + first)
  for _, k in ipairs(in_order) do
    local next_one, n = done[k], done[k + 1]
    if next_one > from then pieces[#pieces + 1] = sub(one.marks, MARK * from + 1, MARK * next_one) end
    pieces[#pieces + 1] = string.rep(done_mark, n)
    from = next_one + n
  end
  pieces[#pieces + 1] = sub(one.marks, MARK * from + 1)
  local marks = table.concat(pieces)
  local key, entry = LEASES .. holder_of(one.claim), run_text(pack.first + one.at, one.n)
  -- Such a text can't stand askew among marks: the places in them are below a thousand.
  if string.find(marks, one.mark, 1, true) then
    entry = call('ZSCORE', key, entry)
  elseif call('ZREM', key, entry) == 1 then
    surplus(key, 1 - one.n)
  else
    entry = false
  end
  if not entry then
    -- They have become entries of their own.
    for k = 1, #done, 2 do
      for nth = done[k], done[k] + done[k + 1] - 1 do ztake(key, member_of(pack.first + one.at + nth)) end
    end
  end
  call('SETRANGE', pack.key, pack.times + TIME * (one.at + first), spack('<I6', now))
  call('SETRANGE', pack.key, PACK_HEAD + MARK * (one.at + first), sub(marks, MARK * first + 1, MARK * from))
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
