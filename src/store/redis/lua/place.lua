-- New jobs. Each comes as two arguments: meta (mode, value, keep_for; then as a head ends: priority, no crashes,
-- timeout, id, queue) and body.
local UNTOUCHED = string.rep('\0', 43)
-- A new job that is ready and has no key, up to where its meta goes on.
local BORN = 'r\0' .. UNTOUCHED .. spack('<I6I6', now, now)
local known, seq, first_seq, bodies, ids = {}, nil, nil, {}, {}

-- Looks all ids and unique keys up at once and says which queue is unknown, if one is.
local function unknown_queue(from, n)
  local queues, wanted, unique = {}, {}, {}
  for i = from, from + 2 * n - 1, 2 do
    local meta, body = ARGV[i], ARGV[i + 1]
    local klen = sunpack('<I2', body)
    if klen > 0 then unique[#unique + 1] = sub(body, 3, 2 + klen) end
    local queue = sub(meta, 39)
    if not queues[queue] then
      if call('SISMEMBER', P .. 'queues', queue) == 0 then return queue end
      queues[queue] = true
    end
    wanted[#wanted + 1] = sub(meta, 23, 38)
  end
  local found = fetch(P .. 'ids', wanted)
  for i = 1, #wanted do
    if found[i] then known[wanted[i]] = true end
  end
  know_keys(unique)
  return nil
end

-- A key whose living holder was deleted by hand would never be let go.
local function is_orphaned(key, holder)
  return sunpack('<B', key_row(key)) == 1 and not known[holder] and call('HEXISTS', P .. 'ids', holder) == 0
end

-- The job that is kept: this one (and true), or the one that was there.
local function place(meta, body)
  local id = sub(meta, 23, 38)
  local flags = '\0'
  local klen = sunpack('<I2', body)
  if klen > 0 then
    local key = sub(body, 3, 2 + klen)
    local holder = key_holder(key)
    if holder and not is_orphaned(key, holder) then return holder, false end
    if known[id] then return id, false end
    hold_key(key, id, min(now + sunpack('<I6', meta, 8), MAX))
    flags = '\1'
  elseif known[id] then
    return id, false
  end
  known[id] = true
  if not seq then
    seq = tonumber(call('GET', P .. 'seq') or last_number())
    first_seq = seq + 1
  end
  seq = seq + 1
  local member = member_of(seq)
  local mode, value = sunpack('<BI6', meta)
  local run_at = now
  if mode == 1 then run_at = min(now + value, MAX) elseif mode == 2 and value > now then run_at = value end
  local state, queue = 'r', sub(meta, 39)
  if run_at > now then
    state = 's'
    zput(due_key(queue), run_at, member)
    messages.earliest = min(messages.earliest or MAX, run_at)
  else
    zput(ready_key(queue, string.byte(meta, 14)), NOW, member)
  end
  count(queue, state, 1)
  -- Bytes 3 to 45 are nothing yet; the tail of meta (id, queue) is the head's own tail.
  if state == 'r' and flags == '\0' then
    put_head(member, BORN .. sub(meta, 14))
  else
    put_head(member, state .. flags .. UNTOUCHED .. spack('<I6I6', run_at, now) .. sub(meta, 14))
  end
  local n = #bodies
  bodies[n + 1] = member
  bodies[n + 2] = body
  ids[n + 1] = id
  ids[n + 2] = member
  return id, true
end

-- Writes what only new jobs have. A full server refuses its first command, and nothing is changed.
local function flush_new()
  if not seq then return end
  call('SET', P .. 'seq', seq)
  slices('HSET', P .. 'ids', ids)
  slices('HSET', P .. 'body', bodies)
  local from = first_seq
  while from <= seq do
    local block = floor(from / 1000)
    local last = min(seq, block * 1000 + 999)
    local n = last - from + 1
    if call('HINCRBY', P .. 'block_jobs', block, n) == n then call('ZADD', P .. 'blocks', block, block) end
    from = last + 1
  end
end
