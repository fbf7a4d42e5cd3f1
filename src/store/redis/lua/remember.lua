-- ARGV: now, field, reply. Answers: 1, or 0 when the key is not reserved or has a reply.
local row = call('HGET', P .. 'replies', ARGV[2])
if not row or #row ~= 20 + sunpack('<I2', row, 19) then return 0 end
-- A removal first: the request is done, and its repetition must learn so on a full server too.
call('HDEL', P .. 'gauges', '')
call('HSET', P .. 'replies', ARGV[2], row .. ARGV[3])
return 1
