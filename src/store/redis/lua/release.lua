-- ARGV: now, field. Ends the lease; a key with a reply stays as it is.
local row = call('HGET', P .. 'replies', ARGV[2])
if not row or #row ~= 20 + sunpack('<I2', row, 19) then return 0 end
return call('HSET', P .. 'replies', ARGV[2], sub(row, 1, 12) .. spack('<I6', 0) .. sub(row, 19))
