-- ARGV: now, job. Answers: 'ok', then each line it logged, oldest first.
local reply = call('LRANGE', P .. 'log:' .. member, 0, -1)
table.insert(reply, 1, 'ok')
return reply
