-- ARGV: now, then holder, first and last entry of its index. Answers the members there.
local reply = {}
for i = 2, #ARGV, 3 do
  for _, entry in ipairs(call('ZRANGE', P .. 'lease:' .. ARGV[i], ARGV[i + 1], ARGV[i + 2])) do
    local first, n = span_of(entry)
    for number = first or 1, first and first + n - 1 or 0 do reply[#reply + 1] = member_of(number) end
  end
end
return reply
