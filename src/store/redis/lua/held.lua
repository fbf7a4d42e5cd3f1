-- ARGV: now, then holder, first and last place in its index. Answers the members there.
local reply = {}
for i = 2, #ARGV, 3 do
  for _, one in ipairs(call('ZRANGE', P .. 'lease:' .. ARGV[i], ARGV[i + 1], ARGV[i + 2])) do reply[#reply + 1] = one end
end
return reply
