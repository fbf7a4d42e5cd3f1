-- Packs. Jobs that came in one large call and differ in nothing that scripts look at (ready at once, of one queue, priority and
-- timeout, without unique keys) have a block of numbers to themselves and stand in one string, pack:<block>, byte for byte:
--   1-6 created and run_at, 7-15 as in a head: priority, no crashes, timeout; 16-17 how many (n), 18 length of the queue's name
--   and the name, up to 96; n marks of 5 bytes; n claims of 45 bytes; n times of 6 bytes; n ids of 16 bytes; n+1 ends of bodies
--   (4 bytes, the first 0); the bodies
-- A mark is all that a claim and a completion change of each job, and few bytes, as Lua hashes each text that it touches: state
-- letter, place of its claim (2), place of its end (2). Zeros are the mark of a job as it was born. Neighbours that were claimed
-- together share one claim, at the place of the first: a front as in front.lua that has, instead of the time of an end, the
-- first one's place (2) and how many (2). Those that were done together share a time. A job stays here while it is nothing but
-- claimed and completed; whatever else becomes of it moves it out, to `head` and `body` as any other, and its mark says so: 'g'.
-- One that is gone says the same.
--
-- In the indexes of ready, running and completed jobs neighbours of a pack stand as one entry: <first member>+<how many, four
-- digits>, in the order of text between the members. Among the leases such an entry stands, as it was claimed, until the last of
-- its jobs is done or one of them comes to another end. How many jobs an index has more than it has entries stands in it as the
-- score, below zero, of the entry '#', which is therefore its first: so whoever deletes an index deletes the count with it.
local PACK_HEAD, MARK, CLAIM, TIME, ID = 96, 5, 45, 6, 16
local NO_TIME = '\0\0\0\0\0\0'
local NO_MARK, LEFT = '\0\0\0\0\0', 'g\0\0\0\0'
local COUNT = '#'
local packs, packed, singled = {}, {}, {}

local function pack_key(block) return P .. 'pack:' .. string.format('%.0f', block) end

-- The pack in a block, or false. Offsets are those of GETRANGE.
local function pack_of(block)
  local pack = packs[block]
  if pack ~= nil then return pack end
  local key = pack_key(block)
  local header = call('GETRANGE', key, 0, PACK_HEAD - 1)
  pack = false
  if #header == PACK_HEAD then
    local n, length = sunpack('<I2B', header, 16)
    local claims = PACK_HEAD + MARK * n
    local times = claims + CLAIM * n
    local ids = times + TIME * n
    local ends = ids + ID * n
    pack = {
      key = key, first = block * 1000, n = n, born = sub(header, 1, 6) .. sub(header, 1, 15), timeout = sub(header, 10, 15),
      queue = sub(header, 19, 18 + length), claims = claims, times = times, ids = ids, ends = ends, bodies = ends + 4 * n + 4,
      known = {}, ended = {},
    }
  end
  packs[block] = pack
  return pack
end

-- The pack that a number belongs to and its place there, from 0.
local function pack_at(number)
  local pack = pack_of(floor(number / 1000))
  if pack and number - pack.first < pack.n then return pack, number - pack.first end
  return false
end

local function slice(pack, from, length) return call('GETRANGE', pack.key, from, from + length - 1) end

local function marks_in(pack, at, n) return slice(pack, PACK_HEAD + MARK * at, MARK * n) end

local function put_marks(pack, at, mark, n) call('SETRANGE', pack.key, PACK_HEAD + MARK * at, string.rep(mark, n)) end

local function claim_in(pack, at)
  local claim = pack.known[at] or slice(pack, pack.claims + CLAIM * at, CLAIM)
  pack.known[at] = claim
  return claim
end

-- Those that were done together share it.
local function time_in(pack, at)
  local time = pack.ended[at] or slice(pack, pack.times + TIME * at, TIME)
  pack.ended[at] = time
  return time
end

-- What the marks say of the nth of them: its letter as a number, the place of its claim.
local function mark_at(marks, nth)
  local letter, claim = sunpack('<BI2', marks, MARK * nth + 1)
  return letter, claim
end

-- The front of the job with the nth of these marks, as that of any other job. Nil: it does not stand here.
local function front_in(pack, marks, nth)
  local letter, at, ended = sunpack('<BI2I2', marks, MARK * nth + 1)
  if letter == 0 then return FRESH end
  if letter == 117 then return 'u\0\0' .. NO_TIME .. sub(claim_in(pack, at), 10) end
  if letter ~= 99 then return nil end
  return 'c\0\0' .. time_in(pack, ended) .. NO_TIME .. NOBODY .. sub(claim_in(pack, at), 32)
end

local function ids_in(pack, at, n) return slice(pack, pack.ids + ID * at, ID * n) end

-- Bodies side by side, and where each begins and the last one ends.
local function bodies_in(pack, at, n)
  local ends = slice(pack, pack.ends + 4 * at, 4 * n + 4)
  local from, to = sunpack('<I4', ends), (sunpack('<I4', ends, 4 * n + 1))
  return slice(pack, pack.bodies + from, to - from), ends
end

local function run_text(first, n) return string.format('%014d+%04d', first, n) end

-- First number and length of an entry. Nothing for '#'.
local function span_of(entry)
  if #entry == 14 then return tonumber(entry), 1 end
  if #entry == 19 then return tonumber(sub(entry, 1, 14)), tonumber(sub(entry, 16)) end
end

local function surplus(key, by)
  if by ~= 0 and tonumber(call('ZINCRBY', key, string.format('%.0f', -by), COUNT)) >= 0 then call('ZREM', key, COUNT) end
end

-- How many jobs stand in an index.
local function size_of(key)
  local more = call('ZSCORE', key, COUNT)
  return call('ZCARD', key) - (more and 1 + tonumber(more) or 0)
end

local function put_run(key, score, first, n)
  if call('ZADD', key, score, run_text(first, n)) == 1 then surplus(key, n - 1) end
end
