-- ARGV: now, job, what is kept with it. Cancels a waiting job; notes the wish with the holder of a running one. Answers: 'ok',
-- the letter of its state now, messages; or 'wrong_state' and the letter.
local state = state_of(h)
if state == 'c' or state == 'd' or state == 'x' then return { 'wrong_state', state } end
if state == 'u' then
  -- A removal first: a full server must let a person stop what runs.
  call('HDEL', P .. 'gauges', '')
  write_head(member, state .. string.char(bit.bor(flags_of(h), STOP)) .. sub(h, 3))
  call('SADD', P .. 'stop:' .. holder_of(h), member)
  return { 'ok', 'u' }
end
leave(member, h)
fail(member, attempt_of(h), ARGV[3])
local flags = bit.bor(flags_of(h), FAILED)
local new = moved(h, 'x', flags, 0, attempt_of(h), now, crashes_of(h), run_at_of(h))
put_head(member, new)
enter(member, new)
release_key_of(member, h)
flush()
return told({ 'ok', 'x' })
