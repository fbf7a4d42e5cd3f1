-- ARGV: now. Answers of each living worker: incarnation, end of its lease, label, queues (JSON), running, first beat, last beat,
-- skew, '1' when it drains.
local reply = {}
local alive = call('ZRANGE', P .. 'alive', 0, 999, 'WITHSCORES')
for i = 1, #alive, 2 do
  local k, W = #reply, P .. 'w:' .. alive[i]
  local said = call('HMGET', W, 'label', 'queues', 'running', 'started_at', 'last_beat', 'skew', 'draining')
  reply[k + 1], reply[k + 2], reply[k + 3], reply[k + 4] = alive[i], alive[i + 1], said[1] or '', said[2] or '[]'
  for n = 3, 7 do reply[k + 2 + n] = said[n] or '0' end
end
return reply
