-- ARGV: now, queue, '1' to pause or '0' to resume. Answers: 'ok', 1 when that changed something, messages.
local queue, wanted = ARGV[2], ARGV[3]
local Q = P .. 'q:' .. queue
local is = call('HGET', Q, 'paused')
if not is then return { 'no_queue', queue } end
-- A removal first: a queue can be stopped on a full server.
call('HDEL', P .. 'gauges', '')
call('HSET', Q, 'paused', wanted)
if wanted == '0' then messages[#messages + 1] = queue end
flush()
return told({ 'ok', is ~= wanted and 1 or 0 })
