-- ARGV: now, field, fingerprint, ttl. Answers: 'granted', 'mismatch', 'busy', or 'done' and the reply.
-- A row is: expiry (6 bytes), length of the fingerprint (2), fingerprint, reply (nothing until it is known).
local field, fingerprint = ARGV[2], ARGV[3]
local row = call('HGET', P .. 'replies', field)
if row then
  local expires, len = sunpack('<I6I2', row)
  if expires > now then
    if sub(row, 9, 8 + len) ~= fingerprint then return { 'mismatch' } end
    if #row == 8 + len then return { 'busy' } end
    return { 'done', sub(row, 9 + len) }
  end
end
local expires = min(now + tonumber(ARGV[4]), MAX)
call('HSET', P .. 'replies', field, spack('<I6I2', expires, #fingerprint) .. fingerprint)
call('ZADD', P .. 'replies_expiry', expires, field)
return { 'granted' }
