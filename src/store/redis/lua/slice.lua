-- ARGV: now, how many to look at, 'up' or 'down', kind, tenant, score and member to go on after in the first index (no member:
-- from its beginning), indexes. Reads indexes one after the other. Answers: 1 when they are over, index (from 1), score and member
-- of the last looked at, then the same of each that fits.
local n, down, kind, tenant, score, after = tonumber(ARGV[2]), ARGV[3] == 'down', ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local reply = { 1, 0, 0, '' }

-- How many entries stand before `after`, or where it stands itself: by halving, since its score may have many entries.
local function rank_after(key)
  local low = call('ZCOUNT', key, '-inf', '(' .. score)
  local high = low + call('ZCOUNT', key, score, score)
  while low < high do
    local middle = floor((low + high) / 2)
    local there = call('ZRANGE', key, middle, middle)[1]
    if there and (there < after or (there == after and not down)) then low = middle + 1 else high = middle end
  end
  return low
end

for i = 8, #ARGV do
  local key, entries = P .. ARGV[i], nil
  local from = i == 8 and after ~= '' and rank_after(key) or nil
  if not down then
    entries = call('ZRANGE', key, from or 0, (from or 0) + n - 1, 'WITHSCORES')
  elseif not from then
    entries = call('ZREVRANGE', key, 0, n - 1, 'WITHSCORES')
  else
    local behind = call('ZCARD', key) - from
    entries = call('ZREVRANGE', key, behind, behind + n - 1, 'WITHSCORES')
  end
  for k = 1, #entries, 2 do
    reply[2], reply[3], reply[4] = i - 7, entries[k + 1], entries[k]
    if fits(entries[k], kind, tenant) then
      local r = #reply
      reply[r + 1], reply[r + 2], reply[r + 3] = i - 7, entries[k + 1], entries[k]
    end
  end
  n = n - #entries / 2
  if n <= 0 then
    reply[1] = 0
    break
  end
end
return reply
