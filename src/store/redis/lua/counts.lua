-- ARGV: now. Answers: now, refusals, then of each queue: name, '1' when paused, completed in all, jobs by state (scheduled, ready,
-- running, completed, dead, cancelled), when its oldest ready job became due (-1: it has none).
local reply = { now, call('HGET', P .. 'gauges', 'refusals') or 0 }
local letters = { 's', 'r', 'u', 'c', 'd', 'x' }
for _, queue in ipairs(call('SMEMBERS', P .. 'queues')) do
  local settings = call('HMGET', P .. 'q:' .. queue, 'paused', 'completed')
  reply[#reply + 1] = queue
  reply[#reply + 1] = settings[1] or '0'
  reply[#reply + 1] = settings[2] or 0
  local fields = {}
  for i = 1, 6 do fields[i] = letters[i] .. ':' .. queue end
  local by_state = call('HMGET', P .. 'counts', unpack(fields))
  for i = 1, 6 do reply[#reply + 1] = by_state[i] or 0 end
  local oldest = -1
  if tonumber(by_state[2] or 0) > 0 then
    for priority = 0, 9 do
      local first = call('ZRANGEBYSCORE', P .. 'ready:' .. queue .. ':' .. priority, 0, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
      local due = tonumber(first[2])
      if due and (oldest < 0 or due < oldest) then oldest = due end
    end
  end
  reply[#reply + 1] = oldest
end
return reply
