-- ARGV: now, job. Takes a finished job away. Answers: 'ok', the letter of the state it was in; or 'wrong_state' and the letter.
local state = state_of(h)
if state == 's' or state == 'r' or state == 'u' then return { 'wrong_state', state } end
leave(member, h)
drop(member, h)
flush()
flush_gone()
return { 'ok', state }
