-- ARGV: now, field. Answers: the value, or nothing.
local row = call('HGET', P .. 'cache', ARGV[2])
if not row or sunpack('<I6', row) <= now then return false end
return sub(row, 7)
