-- ARGV: now, then name, rate ('' for none) and retention (JSON) of each queue. Everybody looks again.
-- A removal first: a process can start on a full server.
call('HDEL', P .. 'gauges', '')
for i = 2, #ARGV, 3 do
  local Q = P .. 'q:' .. ARGV[i]
  call('SADD', P .. 'queues', ARGV[i])
  call('HSETNX', Q, 'paused', '0')
  if call('HEXISTS', Q, 'number') == 0 then
    local number = call('HLEN', P .. 'numbers') + 1
    while call('HEXISTS', P .. 'numbers', number) == 1 do number = number + 1 end
    if number < 65536 then
      call('HSET', P .. 'numbers', number, ARGV[i])
      call('HSET', Q, 'number', number)
    end
  end
  call('HSET', Q, 'rate', ARGV[i + 1], 'retention', ARGV[i + 2])
  messages[#messages + 1] = ARGV[i]
end
flush()
return told({ 'ok' })
