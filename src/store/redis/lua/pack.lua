-- Packs. Jobs that came in one large call and differ in nothing that scripts look at (ready at once, of one queue, priority and
-- timeout, without unique keys) have a block of numbers to themselves and stand in one string, pack:<block>, byte for byte:
--   1-6 created and run_at, 7-15 as in a head: priority, no crashes, timeout; 16-17 how many (n), 18 length of the queue's name
--   and the name, up to 96; n fronts of 45 bytes; n ids of 16 bytes; n+1 ends of bodies (4 bytes, the first 0); the bodies
-- Zeros are the front of a job as it was born. That of a running one holds, where others have the time of their end, which
-- neighbours were claimed with it: the first one's place (2) and how many (2). A job stays here while it is nothing but claimed and completed; whatever else
-- becomes of it moves it out, to `head` and `body` as any other, and its front says so: 'g'. One that is gone says the same.
--
-- In the indexes of ready, running and completed jobs neighbours of a pack stand as one entry: <first member>+<how many, four
-- digits>, in the order of text between the members. Among the leases such an entry stands, as it was claimed, until the last of
-- its jobs is done or one of them comes to another end. How many jobs an index has more than it has entries stands in it as the
-- score, below zero, of the entry '#', which is therefore its first: so whoever deletes an index deletes the count with it.
local PACK_HEAD, PACK_FRONT = 96, 45
local NO_TIME = '\0\0\0\0\0\0'
local NO_PACK_FRONT = sub(NO_FRONT, 1, PACK_FRONT)
local LEFT = 'g' .. sub(NO_FRONT, 1, PACK_FRONT - 1)
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
    local ids = PACK_HEAD + PACK_FRONT * n
    pack = {
      key = key, first = block * 1000, n = n, born = sub(header, 1, 6) .. sub(header, 1, 15), timeout = sub(header, 10, 15),
      queue = sub(header, 19, 18 + length), ids = ids, ends = ids + 16 * n, bodies = ids + 20 * n + 4,
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

local function fronts_in(pack, at, n)
  return call('GETRANGE', pack.key, PACK_HEAD + PACK_FRONT * at, PACK_HEAD + PACK_FRONT * (at + n) - 1)
end

local function put_fronts(pack, at, front, n)
  call('SETRANGE', pack.key, PACK_HEAD + PACK_FRONT * at, string.rep(front, n))
end

local function ids_in(pack, at, n) return call('GETRANGE', pack.key, pack.ids + 16 * at, pack.ids + 16 * (at + n) - 1) end

-- Bodies side by side, and where each begins and the last one ends.
local function bodies_in(pack, at, n)
  local ends = call('GETRANGE', pack.key, pack.ends + 4 * at, pack.ends + 4 * (at + n) + 3)
  local from, to = sunpack('<I4', ends), (sunpack('<I4', ends, 4 * n + 1))
  return call('GETRANGE', pack.key, pack.bodies + from, pack.bodies + to - 1), ends
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
