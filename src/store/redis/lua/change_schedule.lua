-- ARGV: now, name, change (pause, resume, override, skip), word and note for the history, then what the change needs:
-- override: the description ('' for the code's own); skip: from, cursor. Answers: 'ok', 1 or 0 (too late: nothing is changed).
local change = ARGV[3]
local found = schedule()
if not found then return { 'no_schedule', name } end
-- A removal first: a schedule can be stopped on a full server.
call('HDEL', P .. 'gauges', '')
if change == 'pause' then
  call('HSET', S, 'paused', '1')
elseif change == 'resume' then
  -- What came due during the pause is not made up for: a pause is meant.
  local cursor = found.cursor
  if found.paused == '1' and now > tonumber(cursor) then cursor = now end
  call('HSET', S, 'paused', '0', 'cursor', cursor)
elseif change == 'override' then
  if ARGV[6] == '' then
    call('HDEL', S, 'overridden')
  else
    call('HSET', S, 'overridden', ARGV[6])
  end
else
  local from, cursor = ARGV[6], ARGV[7]
  if found.cursor ~= from or tonumber(cursor) <= tonumber(from) then return { 'ok', 0 } end
  call('HSET', S, 'cursor', cursor)
end
note_event(ARGV[4], '', '', ARGV[5])
return { 'ok', 1 }
