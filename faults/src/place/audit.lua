-- Every job in exactly the index of its state, every entry of an index with its job. Answers what is wrong, in words.
local wrong = {}
local function say(text) if #wrong < 20 then wrong[#wrong + 1] = text end end
local found = redis.call('KEYS', '*:head')
if #found ~= 1 then return { #found .. ' namespaces instead of one' } end
local P = string.sub(found[1], 1, -5)
local place = {}
for _, key in ipairs(redis.call('KEYS', P .. '*')) do
  local name = string.sub(key, #P + 1)
  local family = string.match(name, '^(%a+):')
  if family == 'ready' or family == 'due' or family == 'lease' or family == 'end' then
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      if place[member] then say('job ' .. member .. ' is in ' .. place[member] .. ' and in ' .. name) end
      place[member] = name
    end
  end
end
local heads = redis.call('HGETALL', P .. 'head')
local known = {}
for i = 1, #heads, 2 do
  local member, h = heads[i], heads[i + 1]
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
  if redis.call('HEXISTS', P .. 'body', member) == 0 then say('job ' .. member .. ' has no body') end
end
for member, name in pairs(place) do
  if not known[member] then say(name .. ' holds ' .. member .. ', which is no job') end
end
local jobs = #heads / 2
for _, key in ipairs({ 'ids', 'body' }) do
  local n = redis.call('HLEN', P .. key)
  if n ~= jobs then say(key .. ' holds ' .. n .. ' jobs, head ' .. jobs) end
end
return wrong
