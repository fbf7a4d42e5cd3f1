-- One schedule: its record and its history. Times are text here, kept as they came; compared as numbers, which are exact up
-- to 2^53.
local name = ARGV[2]
local S = P .. 's:' .. name
local FIELDS = { 'declared', 'overridden', 'paused', 'cursor', 'last_job', 'last_due', 'held_due' }

local function schedule()
  local row = call('HMGET', S, unpack(FIELDS))
  if not row[4] then return nil end
  local found = {}
  for i = 1, #FIELDS do found[FIELDS[i]] = row[i] end
  return found
end

local function note_event(word, due, job, note)
  call('LPUSH', P .. 'fired:' .. name, table.concat({ string.format('%.0f', now), word, due, job, note }, '|'))
  call('LTRIM', P .. 'fired:' .. name, 0, 99)
end
