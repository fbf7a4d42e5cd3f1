-- ARGV: now. Answers who may hold jobs, the living and the dead whose jobs are not all taken back, and how many each.
local reply = {}
local function add(workers)
  for _, worker in ipairs(workers) do
    reply[#reply + 1] = worker
    reply[#reply + 1] = call('ZCARD', P .. 'lease:' .. worker)
  end
end
add(call('ZRANGE', P .. 'alive', 0, 999))
add(call('SRANDMEMBER', P .. 'bereft', 1000))
return reply
