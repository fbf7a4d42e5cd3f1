-- ARGV: now, name. Answers: 'ok' and the lines, newest first.
if not schedule() then return { 'no_schedule', name } end
local lines = call('LRANGE', P .. 'fired:' .. name, 0, 99)
table.insert(lines, 1, 'ok')
return lines
