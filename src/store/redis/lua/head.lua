-- A job's head, all that changes in its life: bytes 1 state letter, 2 flags, 3 reason, 4-7 attempt, 8-11 epoch,
-- 12-17 started, 18-23 finished, 24-29 deadline, 30-45 holder, 46 priority, 47-48 crashes, 49-54 run_at, 55-60 created,
-- 61-66 timeout, 67-82 id, 83- queue. Numbers are little-endian. wire.rs reads the same.
-- State letters: s scheduled, r ready, u running, c completed, d dead, x cancelled.
local KEYED, STOP, FAILED, LOGGED, PROGRESS, RESULT = 1, 2, 4, 8, 16, 32
local NOBODY = string.rep('\0', 16)

local function state_of(h) return sub(h, 1, 1) end
local function flags_of(h) return string.byte(h, 2) end
local function attempt_of(h) return (sunpack('<I4', h, 4)) end
local function epoch_of(h) return (sunpack('<I4', h, 8)) end
local function finished_of(h) return (sunpack('<I6', h, 18)) end
local function holder_of(h) return sub(h, 30, 45) end
local function priority_of(h) return string.byte(h, 46) end
local function crashes_of(h) return (sunpack('<I2', h, 47)) end
local function run_at_of(h) return (sunpack('<I6', h, 49)) end
local function id_of(h) return sub(h, 67, 82) end
local function queue_of(h) return sub(h, 83) end
local function has(h, flag) return bit.band(flags_of(h), flag) ~= 0 end

-- The same job somewhere else in its life, in nobody's hands.
local function moved(h, state, flags, reason, attempt, finished, crashes, run_at)
  return state .. string.char(flags, reason) .. spack('<I4', attempt) .. sub(h, 8, 17)
    .. spack('<I6I6', finished, 0) .. NOBODY .. sub(h, 46, 46) .. spack('<I2I6', crashes, run_at) .. sub(h, 55)
end

-- People read ids as UUIDs.
local function uuid(raw)
  local hex = string.gsub(raw, '.', function(c) return string.format('%02x', string.byte(c)) end)
  return sub(hex, 1, 8) .. '-' .. sub(hex, 9, 12) .. '-' .. sub(hex, 13, 16) .. '-' .. sub(hex, 17, 20) .. '-' .. sub(hex, 21)
end
