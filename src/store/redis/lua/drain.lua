-- ARGV: now, worker. Answers: 'ok'; or 'dead'.
if not call('ZSCORE', P .. 'alive', ARGV[2]) then return { 'dead' } end
-- A removal first: a worker can be drained from a full server.
call('HDEL', P .. 'gauges', '')
call('HSET', P .. 'w:' .. ARGV[2], 'draining', '1')
return { 'ok' }
