-- ARGV: now, queue ('' for any), kind, tenant, members. Answers those that run and fit.
local reply, members = {}, {}
for i = 5, #ARGV do members[#members + 1] = ARGV[i] end
local found = heads_of(members)
for i = 1, #members do
  local h = found[i]
  if h and state_of(h) == 'u' and (ARGV[2] == '' or queue_of(h) == ARGV[2]) and fits(members[i], ARGV[3], ARGV[4]) then
    reply[#reply + 1] = members[i]
  end
end
return reply
