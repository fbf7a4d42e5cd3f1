-- Every job in exactly the index of its state, every entry of an index with its job. Answers what is wrong, in words.
local wrong = {}
local function say(text) if #wrong < 20 then wrong[#wrong + 1] = text end end
local found = redis.call('KEYS', '*:queues')
if #found ~= 1 then return { #found .. ' namespaces instead of one' } end
local P = string.sub(found[1], 1, -7)
-- A pack's key, its head, and how many jobs stand in it.
local function pack(block)
  local key = P .. 'pack:' .. string.format('%.0f', block)
  local header = redis.call('GETRANGE', key, 0, 95)
  if #header < 96 then return key, header, 0 end
  return key, header, (struct.unpack('<I2', header, 16))
end
-- The head of a job in a pack.
local function packed(number)
  local block = math.floor(number / 1000)
  local key, header, n = pack(block)
  local at, length = number - block * 1000, string.byte(header, 18)
  if at >= n then return nil end
  local letter, claim, ended = struct.unpack('<BI2I2', redis.call('GETRANGE', key, 96 + 5 * at, 96 + 5 * at + 4))
  if letter == 103 then return nil end
  local front, from = 'r' .. string.rep('\0', 44), 96 + 5 * n + 45 * claim
  if letter ~= 0 then front = redis.call('GETRANGE', key, from, from + 44) end
  if letter == 99 then
    from = 96 + 50 * n + 6 * ended
    local time = redis.call('GETRANGE', key, from, from + 5)
    front = 'c\0\0' .. time .. string.rep('\0', 22) .. string.sub(front, 32)
  end
  return front .. string.sub(header, 1, 6) .. string.sub(header, 1, 15) .. string.rep('?', 16) .. string.sub(header, 19, 18 + length)
end
local place = {}
for _, key in ipairs(redis.call('KEYS', P .. '*')) do
  local name = string.sub(key, #P + 1)
  local family = string.match(name, '^(%a+):')
  if family == 'ready' or family == 'due' or family == 'lease' or family == 'end' then
    local more, surplus = 0, 0
    local entries = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    for i = 1, #entries, 2 do
      local entry = entries[i]
      if entry == '#' then
        surplus = -tonumber(entries[i + 1])
      else
        -- A run of neighbours, or one.
        local first, n = tonumber(string.sub(entry, 1, 14)), tonumber(string.sub(entry, 16)) or 1
        more = more + n - 1
        for number = first, first + n - 1 do
          local member = string.format('%014d', number)
          local done = family == 'lease' and #entry > 14 and packed(number)
          -- The lease of a run stands until its last job is done.
          if not (done and string.sub(done, 1, 1) ~= 'u') then
            if place[member] then say('job ' .. member .. ' is in ' .. place[member] .. ' and in ' .. name) end
            place[member] = name
          end
        end
      end
    end
    if more ~= surplus then say(name .. ' says ' .. surplus .. ' more jobs than entries, and holds ' .. more) end
  end
end
local heads = redis.call('HGETALL', P .. 'head')
local known, in_packs = {}, 0
for _, key in ipairs(redis.call('KEYS', P .. 'pack:*')) do
  local block = tonumber(string.sub(key, #P + 6))
  local _, _, n = pack(block)
  for number = block * 1000, block * 1000 + n - 1 do
    local h = packed(number)
    local member = string.format('%014d', number)
    if h then
      in_packs = in_packs + 1
      if redis.call('HEXISTS', P .. 'head', member) == 1 then say('job ' .. member .. ' is in a pack and by itself') end
      heads[#heads + 1] = member
      heads[#heads + 1] = h
    end
  end
end
for i = 1, #heads, 2 do
  local member, h = heads[i], heads[i + 1]
  local by_itself = i <= #heads - 2 * in_packs
  known[member] = true
  -- A fresh head may have its front in its block's string.
  if string.sub(h, 1, 45) == 'r' .. string.rep('\0', 44) then
    local number = tonumber(member)
    local block = math.floor(number / 1000)
    local at = (number - block * 1000) * 47
    local front = redis.call('GETRANGE', P .. 'front:' .. string.format('%.0f', block), at, at + 46)
    if #front == 47 and string.byte(front) ~= 0 then h = string.sub(front, 1, 45) .. string.sub(h, 46) end
  end
  local state, queue = string.sub(h, 1, 1), string.sub(h, 83)
  local want
  if state == 'r' then want = 'ready:' .. queue .. ':'
  elseif state == 's' then want = 'due:' .. queue
  elseif state == 'u' then want = 'lease:'
  else want = 'end:' .. queue .. ':' .. state end
  local is = place[member]
  if not is then say('job ' .. member .. ' in state ' .. state .. ' is in no index')
  elseif string.sub(is, 1, #want) ~= want then say('job ' .. member .. ' in state ' .. state .. ' is in ' .. is) end
  if by_itself and redis.call('HEXISTS', P .. 'body', member) == 0 then say('job ' .. member .. ' has no body') end
end
for member, name in pairs(place) do
  if not known[member] then say(name .. ' holds ' .. member .. ', which is no job') end
end
local jobs = #heads / 2
for key, want in pairs({ ids = jobs, body = jobs - in_packs }) do
  local n = redis.call('HLEN', P .. key)
  if n ~= want then say(key .. ' holds ' .. n .. ' jobs, and ' .. want .. ' are there') end
end
return wrong
