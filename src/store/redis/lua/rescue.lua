-- ARGV: now, limit, crash limit, deadline grace, since when the store could be reached without a gap. Answers: 'ok', workers
-- declared dead, jobs to ready or cancelled, jobs to dead, 1 when there is more, messages.
local limit, crash_limit, grace, since = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local dead_workers, to_ready, to_dead = 0, 0, 0

-- A removal first: on a full server what follows must work, and one that takes no writes at all must say so.
call('HDEL', P .. 'gauges', '')
-- Ended first: from here on their settles are refused though their jobs may wait for the next batch.
local silent = call('ZRANGEBYSCORE', P .. 'alive', '-inf', '(' .. now, 'LIMIT', 0, 1000)
for i = 1, #silent do
  local lease = tonumber(call('HGET', P .. 'w:' .. silent[i], 'lease') or 0)
  if lease <= now - since then
    end_life(silent[i], 'dead')
    call('SADD', P .. 'bereft', silent[i])
    dead_workers = dead_workers + 1
  end
end

local function take_all(worker, members, cause)
  local found = heads_of(members)
  for i = 1, #members do
    local h = found[i]
    if h and state_of(h) == 'u' and holder_of(h) == worker then
      if take_back(members[i], h, cause .. uuid(worker), crash_limit) == 'd' then
        to_dead = to_dead + 1
      else
        to_ready = to_ready + 1
      end
    else
      -- Somebody has taken keys away by hand: an entry without its job.
      ztake(LEASES .. worker, members[i])
      call('HINCRBY', P .. 'gauges', 'orphans', 1)
    end
  end
  limit = limit - #members
end

for _, worker in ipairs(call('SRANDMEMBER', P .. 'bereft', 1000)) do
  if limit <= 0 then break end
  local members = first_jobs(LEASES .. worker, limit, '+inf')
  take_all(worker, members, 'its worker died: ')
  if limit > 0 then
    call('SREM', P .. 'bereft', worker)
    call('DEL', P .. 'stop:' .. worker)
  end
end

-- What ended during a gap gets the grace to be settled, before anybody says that it has not ended.
if now - since >= grace then
  for _, worker in ipairs(call('ZRANGE', P .. 'alive', 0, 999)) do
    if limit <= 0 then break end
    local overdue = first_jobs(LEASES .. worker, limit, '(' .. NOW)
    take_all(worker, overdue, 'it ran past its deadline on ')
  end
end
flush()
return told({ 'ok', dead_workers, to_ready, to_dead, limit <= 0 and 1 or 0 })
