-- ARGV: now, field, fingerprint, lease, ttl. Answers: 'granted' and since when, 'mismatch', 'busy', or 'done' and the reply.
-- A row is: expiry, when it was granted first, when its lease ends (6 bytes each), length of the fingerprint (2),
-- fingerprint, reply (nothing until it is known).
local field, fingerprint = ARGV[2], ARGV[3]
local busy = min(now + tonumber(ARGV[4]), MAX)
local row = call('HGET', P .. 'replies', field)
if row then
  local expires, since, busy_until, len = sunpack('<I6I6I6I2', row)
  if expires > now then
    if sub(row, 21, 20 + len) ~= fingerprint then return { 'mismatch' } end
    if #row > 20 + len then return { 'done', sub(row, 21 + len) } end
    if busy_until > now then return { 'busy' } end
    call('HSET', P .. 'replies', field, sub(row, 1, 12) .. spack('<I6', busy) .. sub(row, 19))
    return { 'granted', since }
  end
end
local expires = min(now + tonumber(ARGV[5]), MAX)
call('HSET', P .. 'replies', field, spack('<I6I6I6I2', expires, now, busy, #fingerprint) .. fingerprint)
call('ZADD', P .. 'replies_expiry', expires, field)
return { 'granted', now }
