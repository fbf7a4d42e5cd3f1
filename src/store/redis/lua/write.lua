-- What a script is about to write. Gathered first and written at the end in few commands, so that everything is
-- checked before the first write: Redis takes nothing back.
local heads, zadds, zrems, counted = {}, {}, {}, {}
local messages = {}
local keys, keys_changed, keys_ending = {}, {}, {}
local fails = {}

local function put_head(member, h)
  heads[#heads + 1] = member
  heads[#heads + 1] = h
end

local function zput(key, score, member)
  local list = zadds[key]
  if not list then
    list = {}
    zadds[key] = list
  end
  local n = #list
  list[n + 1] = score
  list[n + 2] = member
end

local function ztake(key, member)
  local list = zrems[key]
  if not list then
    list = {}
    zrems[key] = list
  end
  list[#list + 1] = member
end

local function count(queue, state, by)
  local field = state .. ':' .. queue
  counted[field] = (counted[field] or 0) + by
end

-- Enters a state's index. `h` is the job's new head.
local function enter(member, h)
  local state, queue = state_of(h), queue_of(h)
  if state ~= 'u' then
    local key, score = index_of(h)
    zput(key, score, member)
    if state == 's' then messages.earliest = min(messages.earliest or MAX, score) end
  end
  count(queue, state, 1)
end

-- Leaves a state's index. `h` is the job's old head.
local function leave(member, h)
  local state, queue = state_of(h), queue_of(h)
  local key, score = index_of(h)
  if packed[member] then single_out(key, score, member) end
  ztake(key, member)
  if state == 'u' and has(h, STOP) then call('SREM', P .. 'stop:' .. holder_of(h), member) end
  count(queue, state, -1)
end

-- The last ten things that went wrong.
local function fail(member, attempt, text)
  fails[#fails + 1] = { P .. 'fail:' .. member, now .. '|' .. attempt .. '|' .. text }
end

-- A unique key's row: live, keep_until, holder. False: nobody has it.
local function key_row(key)
  if keys[key] == nil then keys[key] = call('HGET', P .. 'keys', key) end
  return keys[key]
end

-- The rows of keys that will be asked for, in one look.
local function know_keys(wanted)
  local rows = fetch(P .. 'keys', wanted)
  for i = 1, #wanted do keys[wanted[i]] = rows[i] end
end

local function key_holder(key)
  local row = key_row(key)
  if not row then return nil end
  local live, keep_until, id = sunpack('<BI6c16', row)
  if live == 1 or keep_until > now then return id end
  return nil
end

local function hold_key(key, id, keep_until)
  keys[key] = spack('<BI6c16', 1, keep_until, id)
  keys_changed[key] = true
end

-- Lets the key of a job that has ended go, unless its window still keeps it or another job has taken it over.
local function release_key(key, id)
  local row = key_row(key)
  if not row then return end
  local _, keep_until, holder = sunpack('<BI6c16', row)
  if holder ~= id then return end
  if keep_until > now then
    keys[key] = spack('<BI6c16', 0, keep_until, id)
    keys_ending[#keys_ending + 1] = keep_until
    keys_ending[#keys_ending + 1] = key
  else
    keys[key] = false
  end
  keys_changed[key] = true
end

local function key_of(body) return sub(body, 3, 2 + sunpack('<I2', body)) end

local function release_key_of(member, h)
  if not has(h, KEYED) then return end
  local body = body_of(member)
  if body then release_key(key_of(body), id_of(h)) end
end

-- Writes it all. Removals come first: after one, a full server lets a script write on, and what ends work must work then.
local function flush()
  for key, list in pairs(zrems) do slices('ZREM', key, list) end
  if #heads > 0 then
    slices('HSET', P .. 'head', heads)
    if next(fronted) or next(packed) then
      for i = 1, #heads, 2 do stand_alone(heads[i]) end
    end
  end
  for key, list in pairs(zadds) do slices('ZADD', key, list) end
  local held, let_go = {}, {}
  for key in pairs(keys_changed) do
    if keys[key] then
      held[#held + 1] = key
      held[#held + 1] = keys[key]
    else
      let_go[#let_go + 1] = key
    end
  end
  slices('HDEL', P .. 'keys', let_go)
  slices('HSET', P .. 'keys', held)
  if #keys_ending > 0 then slices('ZADD', P .. 'keys_expiry', keys_ending) end
  for i = 1, #fails do
    call('RPUSH', fails[i][1], fails[i][2])
    call('LTRIM', fails[i][1], -10, -1)
  end
  for field, by in pairs(counted) do
    if by ~= 0 then
      local n = call('HINCRBY', P .. 'counts', field, by)
      -- From none to some: only then can anybody be waiting.
      if by > 0 and n == by and sub(field, 1, 2) == 'r:' then messages[#messages + 1] = sub(field, 3) end
    end
  end
  if messages.earliest then
    local known = call('HGET', P .. 'gauges', 'due')
    if not known or messages.earliest < tonumber(known) then
      call('HSET', P .. 'gauges', 'due', messages.earliest)
      messages[#messages + 1] = ''
    end
  end
  for i = 1, #messages do call('PUBLISH', P .. 'wake', messages[i]) end
end

-- What the caller's own process must be told at once; the others hear it by message.
local function told(reply)
  for i = 1, #messages do reply[#reply + 1] = messages[i] end
  return reply
end
