-- ARGV: now, name, '1' for a call that went well, threshold, cooldown. Answers: 'closed' and failures, or 'open' and until.
local mode, failures, until_ms = breaker()
if ARGV[3] == '1' then
  call('HDEL', P .. 'breakers', name)
  return { 'closed', 0 }
end
failures = min(failures + 1, 4294967295)
if failures >= tonumber(ARGV[4]) then
  mode, until_ms = 1, min(now + tonumber(ARGV[5]), MAX)
elseif mode == 2 then
  -- It was opened for less: a probe that fails is one failure more.
  mode, until_ms = 0, 0
end
keep_breaker(mode, failures, until_ms)
if mode == 0 then return { 'closed', failures } end
return { 'open', until_ms }
