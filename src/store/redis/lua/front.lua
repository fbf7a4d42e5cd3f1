-- The front of a head, bytes 1 to 45, is all that a claim and a plain completion change. A job that came fresh keeps its head
-- as it was born while it is nothing but claimed and completed; its front stands beside its neighbours' in front:<block>, 45
-- bytes and the number of its queue (2), so that neighbours are claimed, and completed, by one comparison and one write.
-- Nothing or zeros there: the head stands for itself. Whatever else becomes of such a job writes its head and wipes its front.
local FRONT = 47
local FRESH = 'r' .. string.rep('\0', 44)
local NO_FRONT = string.rep('\0', FRONT)
-- A whole block's fronts are fetched where at least so many of it are wanted.
local FRONTS_AT_ONCE = 8
local fronted = {}

local function front_key(block) return P .. 'front:' .. string.format('%.0f', block) end

-- Where a job's front stands: key, first byte.
local function front_of(number)
  local block = floor(number / 1000)
  return front_key(block), (number - block * 1000) * FRONT
end

local function is_fresh(h) return string.find(h, FRESH, 1, true) == 1 end

-- The places of those members whose heads are `wanted`, by the blocks they stand in.
local function by_block(members, heads, wanted)
  local blocks = {}
  for i = 1, #members do
    if wanted(heads[i]) then
      local block = floor(tonumber(members[i]) / 1000)
      local list = blocks[block]
      if not list then
        list = {}
        blocks[block] = list
      end
      list[#list + 1] = i
    end
  end
  return blocks
end

-- Heads as they are: those whose front stands elsewhere get it. Changes `heads`.
local function with_fronts(members, heads)
  local function looks_fresh(h) return h and is_fresh(h) end
  for block, list in pairs(by_block(members, heads, looks_fresh)) do
    local all = #list >= FRONTS_AT_ONCE and (call('GET', front_key(block)) or '')
    for _, i in ipairs(list) do
      local key, at = front_of(tonumber(members[i]))
      local front = all and sub(all, at + 1, at + FRONT) or call('GETRANGE', key, at, at + FRONT - 1)
      if #front == FRONT and front ~= NO_FRONT then
        fronted[members[i]] = true
        heads[i] = sub(front, 1, 45) .. sub(heads[i], 46)
      end
    end
  end
  return heads
end

-- The head that has just been written counts from here on.
local function wipe_front(one)
  if not fronted[one] then return end
  local key, at = front_of(tonumber(one))
  call('SETRANGE', key, at, NO_FRONT)
  fronted[one] = nil
end
