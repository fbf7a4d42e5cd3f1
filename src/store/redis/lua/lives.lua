-- The end of a worker's life. `state` is what its record says from then on.
local function end_life(worker, state)
  call('ZREM', P .. 'alive', worker)
  call('ZADD', P .. 'ended', now, worker)
  call('HSET', P .. 'w:' .. worker, 'state', state, 'running', 0)
  -- Its waiting claims look again and hear it.
  messages[#messages + 1] = '*'
end

-- Takes a running job from its holder: back to ready, or to where it ends. A crash gives the attempt back and is counted apart.
local function take_back(member, h, cause, crash_limit)
  local crashes = crashes_of(h) + 1
  local state, reason = 'r', 0
  if has(h, STOP) then
    state = 'x'
  elseif crashes >= crash_limit then
    state, reason = 'd', 3
  end
  leave(member, h)
  fail(member, attempt_of(h), cause)
  local flags = bit.bor(bit.band(flags_of(h), 255 - STOP - PROGRESS), FAILED)
  local finished = state == 'r' and 0 or now
  local new = moved(h, state, flags, reason, math.max(attempt_of(h) - 1, 0), finished, min(crashes, 65535), run_at_of(h))
  if has(h, PROGRESS) then call('HDEL', P .. 'more', 'p' .. member) end
  put_head(member, new)
  enter(member, new)
  if state ~= 'r' then release_key_of(member, h) end
  return state
end
