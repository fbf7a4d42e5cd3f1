-- ARGV: now, then name and description of each. A new one begins at now.
-- A removal first: a process can start on a full server.
call('HDEL', P .. 'gauges', '')
for i = 2, #ARGV, 2 do
  call('ZADD', P .. 'schedules', 0, ARGV[i])
  call('HSETNX', P .. 's:' .. ARGV[i], 'cursor', now)
  call('HSETNX', P .. 's:' .. ARGV[i], 'paused', '0')
  call('HSET', P .. 's:' .. ARGV[i], 'declared', ARGV[i + 1])
end
return 1
