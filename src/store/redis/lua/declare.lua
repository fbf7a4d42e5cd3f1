-- ARGV: now, then name, rate ('' for none) and retention (JSON) of each queue. Everybody looks again.
-- A removal first: a process can start on a full server.
call('HDEL', P .. 'gauges', '')
for i = 2, #ARGV, 3 do
  local Q = P .. 'q:' .. ARGV[i]
  call('SADD', P .. 'queues', ARGV[i])
  call('HSETNX', Q, 'paused', '0')
  call('HSET', Q, 'rate', ARGV[i + 1], 'retention', ARGV[i + 2])
  messages[#messages + 1] = ARGV[i]
end
flush()
return told({ 'ok' })
