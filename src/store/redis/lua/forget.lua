-- ARGV: now, field. A key with a reply stays.
local row = call('HGET', P .. 'replies', ARGV[2])
if not row or #row ~= 8 + sunpack('<I2', row, 7) then return 0 end
call('ZREM', P .. 'replies_expiry', ARGV[2])
return call('HDEL', P .. 'replies', ARGV[2])
