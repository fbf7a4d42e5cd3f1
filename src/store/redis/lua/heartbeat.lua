-- ARGV: now, worker, label, queues (JSON), running, lease, the worker's own time, 1 when it has beaten before. Answers: 'ok', now, drain, then head of each
-- job to be cancelled and its member; or 'dead'.
local worker, lease = ARGV[2], tonumber(ARGV[6])
local W = P .. 'w:' .. worker
-- A removal first: a worker must stay alive on a full server.
call('HDEL', P .. 'gauges', '')
-- One that has beaten before and is not known: the server lost it, and with it who holds what. It must begin anew.
if call('ZSCORE', P .. 'ended', worker) or (ARGV[8] == '1' and call('EXISTS', W) == 0) then
  call('HINCRBY', P .. 'gauges', 'refusals', 1)
  return { 'dead' }
end
call('HSETNX', W, 'started_at', now)
call('HSET', W, 'label', ARGV[3], 'queues', ARGV[4], 'running', ARGV[5], 'last_beat', now, 'lease', lease, 'skew', ARGV[7] - now)
call('ZADD', P .. 'alive', now + lease, worker)
local reply = { 'ok', now, call('HGET', W, 'draining') == '1' and 1 or 0 }
local asked = call('SRANDMEMBER', P .. 'stop:' .. worker, 1000)
local heads_asked = heads_of(asked)
for i = 1, #asked do
  local h = heads_asked[i]
  if h and state_of(h) == 'u' and holder_of(h) == worker then
    reply[#reply + 1] = asked[i]
    reply[#reply + 1] = h
  else
    call('SREM', P .. 'stop:' .. worker, asked[i])
  end
end
return reply
