-- ARGV: now. Looks at one block of a thousand jobs, the next after the one that was looked at last, and puts back what
-- somebody has taken away by hand: a job's entry in its state's index, a running job's lease, a dead holder's name. A
-- waiting job whose payload is gone can't ever run and is taken away. Answers: 'ok', how many jobs were put right, how many
-- taken away, messages.
local last = call('HMGET', P .. 'gauges', 'repair_block', 'repair_at')
-- However many processes ask, one look each half second; a clock that went back must not stop them.
local since = now - tonumber(last[2] or 0)
if since >= 0 and since < 500 then return { 'ok', 0, 0 } end
local blocks = call('ZRANGEBYSCORE', P .. 'blocks', '(' .. (last[1] or '-1'), '+inf', 'LIMIT', 0, 1)
local block = tonumber(blocks[1] or -1)
-- A removal first: a full server must be repaired too.
call('HDEL', P .. 'gauges', '')
call('HSET', P .. 'gauges', 'repair_block', block, 'repair_at', now)
if block < 0 then return { 'ok', 0, 0 } end

local repaired, dropped = 0, 0
local function missing(key, member)
  if call('ZSCORE', key, member) then return false end
  repaired = repaired + 1
  return true
end

-- A running job's lease: as it was while its holder lives, else it is taken back.
local function lease_again(member, h)
  local holder = holder_of(h)
  local living = call('ZSCORE', P .. 'alive', holder)
  if missing(P .. 'lease:' .. holder, member) then
    -- Of a dead holder too: rescue takes it from there, as it takes everything.
    zput(P .. 'lease:' .. holder, deadline_of(h), member)
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
for n = block * 1000, block * 1000 + 999 do members[#members + 1] = string.format('%014d', n) end
local found = heads_of(members)
for i = 1, #members do
  local member, h = members[i], found[i]
  if h then
    local state, queue = state_of(h), queue_of(h)
    if (state == 'r' or state == 's') and call('HEXISTS', P .. 'body', member) == 0 then
      leave(member, h)
      drop(member, h)
      dropped = dropped + 1
    elseif state == 'r' then
      local key = ready_key(queue, priority_of(h))
      local finished = is_fresh(h) and call('ZSCORE', end_key(queue, 'c'), member)
      if finished then
        -- Its front was taken away; a finished job must not run again.
        put_head(member, 'c\0\0' .. spack('<I6', finished) .. sub(h, 10))
        repaired = repaired + 1
      elseif missing(key, member) then
        zput(key, run_at_of(h), member)
        messages[#messages + 1] = queue
      end
    elseif state == 's' then
      local key = due_key(queue)
      if missing(key, member) then
        zput(key, run_at_of(h), member)
        messages.earliest = min(messages.earliest or MAX, run_at_of(h))
      end
    elseif state == 'u' then
      lease_again(member, h)
    else
      local key = end_key(queue, state)
      if missing(key, member) then zput(key, finished_of(h), member) end
    end
  end
end
flush()
flush_gone()
if repaired > 0 then call('HINCRBY', P .. 'gauges', 'repaired', repaired) end
if dropped > 0 then call('HINCRBY', P .. 'gauges', 'orphans', dropped) end
return told({ 'ok', repaired, dropped })
