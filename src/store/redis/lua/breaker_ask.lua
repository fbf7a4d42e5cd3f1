-- ARGV: now, name, how long a probe may take. Answers: 'closed' and failures, 'open' and until, or 'probe': it is the caller's.
local mode, failures, until_ms = breaker()
if mode == 0 then return { 'closed', failures } end
if now < until_ms then return { 'open', until_ms } end
keep_breaker(2, failures, min(now + tonumber(ARGV[3]), MAX))
return { 'probe' }
