-- ARGV: now, limit. Makes due jobs ready, those due longest first within each queue. Answers: 'ok', how many, the next due
-- time (-1: none), 1 when that is over already, messages.
local limit, promoted, next_due = tonumber(ARGV[2]), 0, -1
-- A removal first: a full server must let due jobs run.
call('HDEL', P .. 'gauges', '')
for _, queue in ipairs(call('SMEMBERS', P .. 'queues')) do
  local key = due_key(queue)
  if promoted < limit then
    local members = call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, limit - promoted)
    if #members > 0 then
      slices('ZREM', key, members)
      local found = heads_of(members)
      local there = 0
      for i = 1, #members do
        local h = found[i]
        if h and state_of(h) == 's' then
          local new = 'r' .. sub(h, 2)
          put_head(members[i], new)
          zput(ready_key(queue, priority_of(h)), run_at_of(h), members[i])
          there = there + 1
        else
          -- Somebody has taken keys away by hand: an entry without its job.
          call('HINCRBY', P .. 'gauges', 'orphans', 1)
        end
      end
      count(queue, 's', -#members)
      count(queue, 'r', there)
      promoted = promoted + there
    end
  end
  local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if first[2] then
    local due = tonumber(first[2])
    if next_due < 0 or due < next_due then next_due = due end
  end
end
flush()
-- Whoever schedules something earlier than this rings the bell.
if next_due < 0 then
  call('HDEL', P .. 'gauges', 'due')
else
  call('HSET', P .. 'gauges', 'due', next_due)
end
return told({ 'ok', promoted, next_due, next_due >= 0 and next_due <= now and 1 or 0 })
