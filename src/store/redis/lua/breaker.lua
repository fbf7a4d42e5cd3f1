-- A breaker's row: 0 closed, 1 open, 2 a probe is under way (1 byte); failures in a row (4); until when it is open (6).
-- None: closed, without a failure.
local name = ARGV[2]

local function breaker()
  local row = call('HGET', P .. 'breakers', name)
  if not row then return 0, 0, 0 end
  return sunpack('<BI4I6', row)
end

local function keep_breaker(mode, failures, until_ms)
  -- A removal first: what protects the other side must work on a full server too.
  call('HDEL', P .. 'gauges', '')
  call('HSET', P .. 'breakers', name, spack('<BI4I6', mode, failures, until_ms))
end
