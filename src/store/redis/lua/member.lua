-- Jobs wherever they stand, by themselves or in packs: their heads, their bodies, and how one of a pack becomes one of its own.

-- Adds the heads of those that stand in packs. Changes `heads`.
local function with_packs(members, heads)
  local function is_missing(h) return not h end
  for block, list in pairs(by_block(members, heads, is_missing)) do
    local pack = pack_of(block)
    local all = pack and #list >= FRONTS_AT_ONCE
    local marks, ids = all and marks_in(pack, 0, pack.n), all and ids_in(pack, 0, pack.n)
    for _, i in ipairs(pack and list or {}) do
      local at = tonumber(members[i]) - pack.first
      local front = at < pack.n and front_in(pack, marks or marks_in(pack, at, 1), marks and at or 0)
      if front then
        local id = ids and sub(ids, ID * at + 1, ID * at + ID) or ids_in(pack, at, 1)
        heads[i] = front .. pack.born .. id .. pack.queue
        packed[members[i]] = true
      end
    end
  end
  return heads
end

local function heads_of(members)
  return with_packs(members, with_fronts(members, fetch(P .. 'head', members)))
end

local function head_of(one) return heads_of({ one })[1] end

local function body_of(one)
  local body = call('HGET', P .. 'body', one)
  if body then return body end
  local pack, at = pack_at(tonumber(one))
  if not pack then return false end
  return (bodies_in(pack, at, 1))
end

-- The entry of several that a number stands in: its text, first number and length.
local function covering(key, score, number)
  local one = member_of(number)
  score = string.format('%.0f', score)
  local low = call('ZCOUNT', key, '-inf', '(' .. score)
  local high, begin = low + call('ZCOUNT', key, score, score), low
  -- By halving, behind the last that begins with it or before: a score may have many entries.
  while low < high do
    local middle = floor((low + high) / 2)
    if sub(call('ZRANGE', key, middle, middle)[1], 1, 14) <= one then low = middle + 1 else high = middle end
  end
  if low == begin then return nil end
  local entry = call('ZRANGE', key, low - 1, low - 1)[1]
  local first, n = span_of(entry)
  if #entry == 19 and number < first + n then return entry, first, n end
end

-- Takes numbers out of an index, in whatever entries they stand. A removal is always first: a full server lets the rest be written.
local function cut(key, score, first, n)
  if call('ZREM', key, run_text(first, n)) == 1 then return surplus(key, 1 - n) end
  local at, past = first, first + n
  while at < past do
    local entry, from, length = covering(key, score, at)
    if entry then
      local last = min(from + length, past)
      local before, behind, by = at - from, from + length - last, 1 - length
      call('ZREM', key, entry)
      if before > 0 then
        call('ZADD', key, score, run_text(from, before))
        by = by + before - 1
      end
      if behind > 0 then
        call('ZADD', key, score, run_text(last, behind))
        by = by + behind - 1
      end
      surplus(key, by)
      at = last
    else
      call('ZREM', key, member_of(at))
      at = at + 1
    end
  end
end

-- From here on the jobs of an entry are entries of their own. Among leases: those that still run. Answers them.
local function explode(key, score, entry)
  local first, n = span_of(entry)
  local leases = sub(key, 1, #LEASES) == LEASES
  local pack, at = pack_at(first)
  local marks, holder = leases and pack and marks_in(pack, at, n), sub(key, #LEASES + 1)
  local members, singles = {}, {}
  for i = 0, n - 1 do
    local letter, claim = 117, nil
    if marks and at + i < pack.n then letter, claim = mark_at(marks, i) end
    if letter == 117 and (not claim or holder_of(claim_in(pack, claim)) == holder) then
      local one = member_of(first + i)
      singled[one] = true
      members[#members + 1] = one
      singles[#singles + 1] = score
      singles[#singles + 1] = one
    end
  end
  call('ZREM', key, entry)
  slices('ZADD', key, singles)
  surplus(key, 1 - n)
  return members
end

-- From here on a job is an entry of its own.
local function single_out(key, score, one)
  if singled[one] then return end
  singled[one] = true
  local number = tonumber(one)
  local entry = covering(key, score, number)
  if entry and sub(key, 1, #LEASES) == LEASES then
    explode(key, score, entry)
  elseif entry then
    cut(key, score, number, 1)
    call('ZADD', key, score, one)
  end
end

-- The first jobs of an index up to a score, each an entry of its own from here on.
local function first_jobs(key, limit, highest)
  local members, entries, runs = {}, nil, nil
  repeat
    entries = limit > 0 and call('ZRANGEBYSCORE', key, 0, highest, 'WITHSCORES', 'LIMIT', 0, limit) or {}
    members, runs = {}, 0
    for i = 1, #entries, 2 do
      if #members >= limit then break end
      if #entries[i] == 14 then
        members[#members + 1] = entries[i]
      else
        runs = runs + 1
        for _, one in ipairs(explode(key, entries[i + 1], entries[i])) do
          if #members < limit then members[#members + 1] = one end
        end
      end
    end
    -- Of a run nothing may be left, and others stand behind it.
  until runs == 0 or #members >= limit
  return members
end

-- The head that has just been written counts from here on, wherever the job stood before.
local function stand_alone(one)
  wipe_front(one)
  if not packed[one] then return end
  local pack, at = pack_at(tonumber(one))
  call('HSET', P .. 'body', one, (bodies_in(pack, at, 1)))
  put_marks(pack, at, LEFT, 1)
  packed[one] = nil
end

-- For a job that stays in its index.
local function write_head(one, h)
  if packed[one] then
    local key, score = index_of(h)
    single_out(key, score, one)
  end
  call('HSET', P .. 'head', one, h)
  stand_alone(one)
end
