-- ARGV: now, how many to look at, 'up' or 'down', kind, tenant, score and member to go on after in the first index (no member:
-- from its beginning), indexes. Reads indexes one after the other. Answers: 1 when they are over, index (from 1), score and member
-- of the last looked at, then the same of each that fits.
local n, down, kind, tenant, score, after = tonumber(ARGV[2]), ARGV[3] == 'down', ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local reply = { 1, 0, 0, '' }

-- How many entries begin with `after` or before, in their order: by halving, since its score may have many entries.
local function rank_behind(key)
  local low = call('ZCOUNT', key, '-inf', '(' .. score)
  local high = low + call('ZCOUNT', key, score, score)
  while low < high do
    local middle = floor((low + high) / 2)
    local there = call('ZRANGE', key, middle, middle)[1]
    if there and sub(there, 1, 14) <= after then low = middle + 1 else high = middle end
  end
  return low
end

-- Whether a job was on an earlier page.
local function is_read(at, one)
  if down then return at > tonumber(score) or (at == tonumber(score) and one >= after) end
  return at < tonumber(score) or (at == tonumber(score) and one <= after)
end

local looked = 0
for i = 8, #ARGV do
  local key, entries = P .. ARGV[i], nil
  -- The last of those may be a run of which only a part has been read.
  local behind = i == 8 and after ~= '' and rank_behind(key) or nil
  if not down then
    local from = math.max((behind or 0) - 1, 0)
    entries = call('ZRANGE', key, from, from + n, 'WITHSCORES')
  else
    local from = behind and call('ZCARD', key) - behind or 0
    entries = call('ZREVRANGE', key, from, from + n, 'WITHSCORES')
  end
  for k = 1, #entries, 2 do
    local first, length = span_of(entries[k])
    local at = tonumber(entries[k + 1])
    for step = 0, (length or 0) - 1 do
      if looked >= n then break end
      local one = member_of(down and first + length - 1 - step or first + step)
      if not behind or not is_read(at, one) then
        looked = looked + 1
        reply[2], reply[3], reply[4] = i - 7, entries[k + 1], one
        if fits(one, kind, tenant) then
          local r = #reply
          reply[r + 1], reply[r + 2], reply[r + 3] = i - 7, entries[k + 1], one
        end
      end
    end
  end
  if looked >= n then
    reply[1] = 0
    break
  end
end
return reply
