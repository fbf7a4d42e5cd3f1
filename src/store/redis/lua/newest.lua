-- ARGV: now, the number to go on below, how many are wanted, queue ('' for any), kind, tenant. Looks at one thousand of numbers, the
-- next lower one that holds jobs. Answers: the lowest number looked at (-1: nothing is below it), how many jobs were there, then
-- the member of each that fits, newest first.
local below, n, queue, kind, tenant = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local block = call('ZREVRANGEBYSCORE', P .. 'blocks', floor((below - 1) / 1000), '-inf', 'LIMIT', 0, 1)[1]
if not block then return { -1, 0 } end
local first, pack = tonumber(block) * 1000, pack_of(tonumber(block))
local top, there, reply = min(below - 1, first + (pack and pack.n or 1000) - 1), 0, { 0, 0 }
while top >= first and #reply - 2 < n do
  local members = {}
  for number = top, math.max(first, top - 199), -1 do members[#members + 1] = member_of(number) end
  local found = heads_of(members)
  for i = 1, #members do
    local h = found[i]
    top = top - 1
    if h then
      there = there + 1
      if (queue == '' or queue_of(h) == queue) and fits(members[i], kind, tenant) then
        reply[#reply + 1] = members[i]
        if #reply - 2 >= n then break end
      end
    end
  end
end
reply[1], reply[2] = top + 1, there
if top < first and not call('ZREVRANGEBYSCORE', P .. 'blocks', tonumber(block) - 1, '-inf', 'LIMIT', 0, 1)[1] then
  reply[1] = -1
end
return reply
