-- ARGV: now. Looks at a block of a thousand jobs, the next after the one that was looked at last (at a few more where they hold few
-- numbers), and puts back what
-- somebody has taken away by hand: a job's entry in its state's index, a running job's lease, a dead holder's name. A
-- waiting job whose payload is gone can't ever run and is taken away. Answers: 'ok', how many jobs were put right, how many
-- taken away, messages.
local BLOCKS_AT_ONCE = 50
local last = call('HMGET', P .. 'gauges', 'repair_block', 'repair_at')
-- However many processes ask, one look each half second; a clock that went back must not stop them.
local since = now - tonumber(last[2] or 0)
if since >= 0 and since < 500 then return { 'ok', 0, 0 } end
local numbers, blocks = 0, {}
for _, block in ipairs(call('ZRANGEBYSCORE', P .. 'blocks', '(' .. (last[1] or '-1'), '+inf', 'LIMIT', 0, BLOCKS_AT_ONCE)) do
  block = tonumber(block)
  local pack = pack_of(block)
  numbers = numbers + (pack and pack.n or 1000)
  if numbers > 1000 and #blocks > 0 then break end
  blocks[#blocks + 1] = block
end
-- A removal first: a full server must be repaired too.
call('HDEL', P .. 'gauges', '')
call('HSET', P .. 'gauges', 'repair_block', blocks[#blocks] or -1, 'repair_at', now)
if #blocks == 0 then return { 'ok', 0, 0 } end

local repaired, dropped = 0, 0
-- What the last look in an index has covered: neighbours of a pack stand there together.
local seen = {}
local function missing(key, score, member)
  if packed[member] then
    local number = tonumber(member)
    if seen.key == key and seen.score == score and number < seen.past and number >= seen.first then return false end
    if call('ZSCORE', key, member) or call('ZSCORE', key, run_text(number, 1)) then return false end
    local entry, first, n = covering(key, score, number)
    if entry then
      seen = { key = key, score = score, first = first, past = first + n }
      return false
    end
  end
  if call('ZSCORE', key, member) then return false end
  repaired = repaired + 1
  return true
end

-- A running job's lease: as it was while its holder lives, else it is taken back.
local function lease_again(member, h)
  local holder = holder_of(h)
  local living = call('ZSCORE', P .. 'alive', holder)
  if missing(LEASES .. holder, deadline_of(h), member) then
    -- Of a dead holder too: rescue takes it from there, as it takes everything.
    zput(LEASES .. holder, deadline_of(h), member)
    if not living and call('ZSCORE', P .. 'ended', holder) then call('SADD', P .. 'bereft', holder) end
  elseif not living and call('SISMEMBER', P .. 'bereft', holder) == 0 then
    -- Nobody knows its holder. Silent for less than its lease it may still beat; after that rescue takes all that it held.
    local said = call('HMGET', P .. 'w:' .. holder, 'last_beat', 'lease')
    if (tonumber(said[1]) or 0) + (tonumber(said[2]) or 0) < now then
      call('SADD', P .. 'bereft', holder)
      repaired = repaired + 1
    end
  end
end

local members = {}
for _, block in ipairs(blocks) do
  local pack = pack_of(block)
  for n = block * 1000, block * 1000 + (pack and pack.n or 1000) - 1 do members[#members + 1] = member_of(n) end
end
local found = heads_of(members)
local used = {}
for i = 1, #members do
  local member, h = members[i], found[i]
  if packed[member] then used[floor(tonumber(member) / 1000)] = true end
  if h then
    local state, queue = state_of(h), queue_of(h)
    if (state == 'r' or state == 's') and not packed[member] and not body_of(member) then
      leave(member, h)
      drop(member, h)
      dropped = dropped + 1
    elseif state == 'r' then
      local key = ready_key(queue, priority_of(h))
      local finished = is_fresh(h) and not packed[member] and call('ZSCORE', end_key(queue, 'c'), member)
      if finished then
        -- Its front was taken away; a finished job must not run again.
        put_head(member, 'c\0\0' .. spack('<I6', finished) .. sub(h, 10))
        repaired = repaired + 1
      elseif missing(key, run_at_of(h), member) then
        zput(key, run_at_of(h), member)
        messages[#messages + 1] = queue
      end
    elseif state == 's' then
      local key = due_key(queue)
      if missing(key, run_at_of(h), member) then
        zput(key, run_at_of(h), member)
        messages.earliest = min(messages.earliest or MAX, run_at_of(h))
      end
    elseif state == 'u' then
      lease_again(member, h)
    else
      local key = end_key(queue, state)
      if missing(key, finished_of(h), member) then zput(key, finished_of(h), member) end
    end
  end
end
-- Only here a pack's jobs are looked at in their order: sweep.lua finds heads, and what ids name.
local nameless, names = {}, {}
for i = 1, #members do
  if packed[members[i]] then
    nameless[#nameless + 1] = members[i]
    names[#names + 1] = id_of(found[i])
  end
end
local known, again = fetch(P .. 'ids', names), {}
for i = 1, #names do
  if not known[i] then
    again[#again + 1] = names[i]
    again[#again + 1] = nameless[i]
    repaired = repaired + 1
  end
end
flush()
flush_gone()
slices('HSET', P .. 'ids', again)
-- All have moved out.
for _, block in ipairs(blocks) do
  if not used[block] and pack_of(block) then call('DEL', pack_key(block)) end
end
if repaired > 0 then call('HINCRBY', P .. 'gauges', 'repaired', repaired) end
if dropped > 0 then call('HINCRBY', P .. 'gauges', 'orphans', dropped) end
return told({ 'ok', repaired, dropped })
