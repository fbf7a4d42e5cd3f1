-- A job's head, all that changes in its life: bytes 1 state letter, 2 flags, 3 reason, 4-9 finished, 10-15 deadline,
-- 16-31 holder, 32-35 epoch, 36-39 attempt, 40-45 started, 46-51 run_at, 52-57 created, 58 priority, 59-60 crashes,
-- 61-66 timeout, 67-82 id, 83- queue. Numbers are little-endian. wire.rs reads the same. What a completion changes stands
-- first, holder and epoch side by side as in a settlement, and from the priority on all as in a new job's meta: each piece of
-- text costs Lua a hash and an allocation.
-- State letters: s scheduled, r ready, u running, c completed, d dead, x cancelled.
local KEYED, STOP, FAILED, LOGGED, PROGRESS, RESULT = 1, 2, 4, 8, 16, 32
local NOBODY = string.rep('\0', 16)
local LEASES = P .. 'lease:'

local function member_of(number) return string.format('%014d', number) end

local function state_of(h) return sub(h, 1, 1) end
local function flags_of(h) return string.byte(h, 2) end
local function attempt_of(h) return (sunpack('<I4', h, 36)) end
local function deadline_of(h) return (sunpack('<I6', h, 10)) end
local function epoch_of(h) return (sunpack('<I4', h, 32)) end
local function finished_of(h) return (sunpack('<I6', h, 4)) end
local function holder_of(h) return sub(h, 16, 31) end
local function priority_of(h) return string.byte(h, 58) end
local function crashes_of(h) return (sunpack('<I2', h, 59)) end
local function run_at_of(h) return (sunpack('<I6', h, 46)) end
local function id_of(h) return sub(h, 67, 82) end
local function queue_of(h) return sub(h, 83) end
local function has(h, flag) return bit.band(flags_of(h), flag) ~= 0 end

local function ready_key(queue, priority) return P .. 'ready:' .. queue .. ':' .. priority end
local function due_key(queue) return P .. 'due:' .. queue end
local function end_key(queue, state) return P .. 'end:' .. queue .. ':' .. state end

-- The index that a job stands in, and its score there.
local function index_of(h)
  local state, queue = state_of(h), queue_of(h)
  if state == 'r' then return ready_key(queue, priority_of(h)), run_at_of(h) end
  if state == 's' then return due_key(queue), run_at_of(h) end
  if state == 'u' then return LEASES .. holder_of(h), deadline_of(h) end
  return end_key(queue, state), finished_of(h)
end

-- The same job somewhere else in its life, in nobody's hands.
local function moved(h, state, flags, reason, attempt, finished, crashes, run_at)
  return state .. string.char(flags, reason) .. spack('<I6I6', finished, 0) .. NOBODY .. sub(h, 32, 35)
    .. spack('<I4', attempt) .. sub(h, 40, 45) .. spack('<I6', run_at) .. sub(h, 52, 58) .. spack('<I2', crashes) .. sub(h, 61)
end

-- People read ids as UUIDs.
local function uuid(raw)
  local hex = string.gsub(raw, '.', function(c) return string.format('%02x', string.byte(c)) end)
  return sub(hex, 1, 8) .. '-' .. sub(hex, 9, 12) .. '-' .. sub(hex, 13, 16) .. '-' .. sub(hex, 17, 20) .. '-' .. sub(hex, 21)
end
