-- ARGV: now, limit. Takes away what retention no longer keeps, then what has expired. Answers: jobs, other things.
local limit, jobs, other = tonumber(ARGV[2]), 0, 0

-- Neighbours of a pack that have all ended so, by few commands. False: they must be looked at one by one.
local function drop_run(queue, state, score, first, n)
  local pack, at = pack_at(first)
  if not pack or at + n > pack.n then return false end
  local marks, letter = marks_in(pack, at, n), string.byte(state)
  for i = 0, n - 1 do
    if string.byte(marks, MARK * i + 1) ~= letter then return false end
  end
  local ids = ids_in(pack, at, n)
  for i = 1, n do gone_ids[#gone_ids + 1] = sub(ids, 16 * i - 15, 16 * i) end
  put_marks(pack, at, LEFT, n)
  cut(end_key(queue, state), score, first, n)
  count(queue, state, -n)
  local block = floor(first / 1000)
  blocks_down[block] = (blocks_down[block] or 0) + n
  jobs = jobs + n
  return true
end

local function ms(duration) return duration.secs * 1000 + floor(duration.nanos / 1000000) end

-- Of one queue and state: those that are too old, and the oldest of those that are too many.
local function prune_jobs(queue, state, before, max)
  local left = limit - jobs
  if left <= 0 then return end
  local key = end_key(queue, state)
  local too_many = size_of(key) - max
  local oldest, members = call('ZRANGEBYSCORE', key, 0, '+inf', 'WITHSCORES', 'LIMIT', 0, left), {}
  local seen = 0
  for i = 1, #oldest, 2 do
    local first, n = span_of(oldest[i])
    if tonumber(oldest[i + 1]) >= before then n = min(n, too_many - seen) end
    n = min(n, left - seen)
    if n <= 0 then break end
    seen = seen + n
    if #oldest[i] == 14 then
      members[#members + 1] = oldest[i]
    elseif not drop_run(queue, state, oldest[i + 1], first, n) then
      for number = first, first + n - 1 do
        local one = member_of(number)
        single_out(key, oldest[i + 1], one)
        members[#members + 1] = one
      end
    end
  end
  local found = heads_of(members)
  for i = 1, #members do
    local h = found[i]
    if h and state_of(h) == state then
      leave(members[i], h)
      drop(members[i], h)
      jobs = jobs + 1
    else
      -- Somebody has taken keys away by hand: an entry without its job.
      ztake(key, members[i])
      count(queue, state, -1)
      call('HINCRBY', P .. 'gauges', 'orphans', 1)
    end
  end
end

local function due(key, before)
  local left = limit - jobs - other
  if left <= 0 then return {} end
  return call('ZRANGEBYSCORE', P .. key, '-inf', before, 'LIMIT', 0, left)
end

-- A removal first: what makes room must work on a full server.
call('HDEL', P .. 'gauges', '')
for _, queue in ipairs(call('SMEMBERS', P .. 'queues')) do
  local retention = call('HGET', P .. 'q:' .. queue, 'retention')
  if retention then
    retention = cjson.decode(retention)
    prune_jobs(queue, 'c', now - ms(retention.finished_for), retention.finished_max)
    prune_jobs(queue, 'x', now - ms(retention.finished_for), retention.finished_max)
    prune_jobs(queue, 'd', now - ms(retention.dead_for), retention.dead_max)
  end
end
flush()
flush_gone()

for _, key in ipairs(due('keys_expiry', now)) do
  local row = call('HGET', P .. 'keys', key)
  local live, keep_until = 1, 0
  if row then live, keep_until = sunpack('<BI6', row) end
  if live == 0 and keep_until > now then
    call('ZADD', P .. 'keys_expiry', keep_until, key)
  else
    -- A job that was brought back has its key again: only the entry goes.
    call('ZREM', P .. 'keys_expiry', key)
    if live == 0 then
      call('HDEL', P .. 'keys', key)
      other = other + 1
    end
  end
end
for _, name in ipairs({ 'cache', 'limits', 'replies' }) do
  local fields = due(name .. '_expiry', now)
  slices('ZREM', P .. name .. '_expiry', fields)
  slices('HDEL', P .. name, fields)
  other = other + #fields
end
-- One with jobs left must stay known as dead, or it could come back to them.
for _, worker in ipairs(due('ended', now - 24 * 3600000)) do
  if call('EXISTS', LEASES .. worker) == 0 then
    call('DEL', P .. 'w:' .. worker, P .. 'stop:' .. worker)
    call('ZREM', P .. 'ended', worker)
    other = other + 1
  end
end
return { jobs, other }
