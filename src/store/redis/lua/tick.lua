-- ARGV: now, name, due, overlap (allow, skip, queue_one), '=' and by whose hand ('' for nobody's), then meta and body of the job.
-- Answers: 'ok', what became of it, the job it is about or '', messages.
local due, overlap, hand = ARGV[3], ARGV[4], ARGV[5]
local found = schedule()
if not found then return { 'no_schedule', name } end

-- After it the job, then the record: a full server refuses the first write, and nothing is changed.
local function fire(word, note)
  local unknown = unknown_queue(6, 1)
  if unknown then return { 'no_queue', unknown } end
  local job, is_new = place(ARGV[6], ARGV[7])
  flush_new()
  flush()
  if word == 'enqueued' then
    if tonumber(due) > tonumber(found.cursor) then call('HSET', S, 'cursor', due) end
    if found.held_due and tonumber(found.held_due) <= tonumber(due) then call('HDEL', S, 'held_due') end
  end
  if not is_new then
    note_event('skipped_overlap', due, '', 'job ' .. uuid(job) .. ' has its unique key')
    return told({ 'ok', 'skipped', job })
  end
  call('HSET', S, 'last_job', job, 'last_due', due)
  note_event(word, due, uuid(job), note)
  return told({ 'ok', 'enqueued', job })
end

if hand ~= '' then return fire('run_by_hand', sub(hand, 2)) end
if found.paused == '1' then return { 'ok', 'paused', '' } end
local held = found.held_due == due
if tonumber(due) <= tonumber(found.cursor) and not held then return { 'ok', 'decided', '' } end

local function lives(job)
  local member = call('HGET', P .. 'ids', job)
  local h = member and head_of(member)
  if not h then return false end
  local state = state_of(h)
  return state == 's' or state == 'r' or state == 'u'
end

local last = found.last_job
if overlap == 'allow' or not last or not lives(last) then return fire('enqueued', '') end
if overlap == 'skip' then
  if not held then call('HSET', S, 'cursor', due) end
  note_event('skipped_overlap', due, '', 'job ' .. uuid(last) .. ' is not finished')
  return { 'ok', 'skipped', last }
end
if not held then call('HSET', S, 'cursor', due, 'held_due', due) end
return { 'ok', 'held', '' }
