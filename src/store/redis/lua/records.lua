-- ARGV: now, members. Answers each job that is there, whole.
local reply = {}
for i = 2, #ARGV do reply[#reply + 1] = whole(ARGV[i]) end
return reply
