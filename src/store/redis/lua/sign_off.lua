-- ARGV: now, worker, limit. Ends a worker's life cleanly: what it still runs goes back at once, uncharged. Answers: 'ok',
-- how many went back, 1 when there is more (call again), messages.
call('HDEL', P .. 'gauges', '') -- a removal first: a full server lets the rest be written then
local worker, limit = ARGV[2], tonumber(ARGV[3])
if not call('ZSCORE', P .. 'alive', worker) then return { 'ok', 0, 0 } end
local members = first_jobs(LEASES .. worker, limit, '+inf')
local found = heads_of(members)
local back = 0
for i = 1, #members do
  local member, h = members[i], found[i]
  if h and state_of(h) == 'u' and holder_of(h) == worker then
    local asked = has(h, STOP)
    local flags = bit.band(flags_of(h), 255 - STOP - PROGRESS)
    leave(member, h)
    local new
    if asked then
      fail(member, attempt_of(h), 'cancelled while it was running')
      new = moved(h, 'x', bit.bor(bit.band(flags_of(h), 255 - STOP), FAILED), 0, attempt_of(h), now, crashes_of(h), run_at_of(h))
      release_key_of(member, h)
    else
      if has(h, PROGRESS) then call('HDEL', P .. 'more', 'p' .. member) end
      new = moved(h, 'r', flags, 0, math.max(attempt_of(h) - 1, 0), 0, crashes_of(h), run_at_of(h))
    end
    put_head(member, new)
    enter(member, new)
    back = back + 1
  else
    ztake(LEASES .. worker, member)
  end
end
local more = #members >= limit
if not more then end_life(worker, 'gone') end
flush()
return told({ 'ok', back, more and 1 or 0 })
