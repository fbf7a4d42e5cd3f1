-- ARGV: now, job. Brings a dead job back as if it were new, or a scheduled one forward. Answers: 'ok', the letter of the state
-- it came from, messages; or 'wrong_state' and the letter; or 'key_taken', the key and who has it.
local state = state_of(h)
if state ~= 'd' and state ~= 's' then return { 'wrong_state', state } end
local body = body_of(member)
-- Somebody has taken keys away by hand: nothing is left that could run.
if not body then return { 'no_job' } end
local flags, attempt, crashes = flags_of(h), attempt_of(h), crashes_of(h)
if state == 'd' then
  if has(h, KEYED) then
    local key, id = key_of(body), id_of(h)
    local holder = key_holder(key)
    if holder and holder ~= id then return { 'key_taken', key, holder } end
    local keep_until = now
    if holder then
      local _, own_window = sunpack('<BI6', key_row(key))
      keep_until = own_window
    end
    hold_key(key, id, keep_until)
  end
  flags, attempt, crashes = bit.band(flags, 255 - STOP - PROGRESS), 0, 0
end
leave(member, h)
local new = moved(h, 'r', flags, 0, attempt, 0, crashes, now)
put_head(member, new)
enter(member, new)
flush()
if state == 'd' and has(h, PROGRESS) then call('HDEL', P .. 'more', 'p' .. member) end
return told({ 'ok', state })
