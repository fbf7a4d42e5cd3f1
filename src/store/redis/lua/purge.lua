-- ARGV: now, queue, limit, what is kept with a job that has no failures yet. Cancels what waits: ready jobs, then scheduled
-- ones. Answers: 'ok', how many, messages.
local queue, limit, purged = ARGV[2], tonumber(ARGV[3]), 0
if call('SISMEMBER', P .. 'queues', queue) == 0 then return { 'no_queue', queue } end
local indexes = {}
for priority = 0, 9 do indexes[#indexes + 1] = { 'r', ready_key(queue, priority) } end
indexes[#indexes + 1] = { 's', due_key(queue) }
local left = limit
for _, index in ipairs(indexes) do
  local state, key = index[1], index[2]
  local members = first_jobs(key, left, '+inf')
  local found = heads_of(members)
  for i = 1, #members do
    local one, h = members[i], found[i]
    if h and state_of(h) == state then
      leave(one, h)
      if not has(h, FAILED) then fail(one, 0, ARGV[4]) end
      local flags = bit.bor(flags_of(h), FAILED)
      local new = moved(h, 'x', flags, 0, attempt_of(h), now, crashes_of(h), run_at_of(h))
      put_head(one, new)
      enter(one, new)
      release_key_of(one, h)
      purged = purged + 1
    else
      -- Somebody has taken keys away by hand: an entry without its job.
      ztake(key, one)
      count(queue, state, -1)
      call('HINCRBY', P .. 'gauges', 'orphans', 1)
    end
  end
  left = left - #members
end
flush()
return told({ 'ok', purged })
