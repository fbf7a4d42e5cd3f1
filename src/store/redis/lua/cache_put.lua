-- ARGV: now, field, value, ttl.
local expires = min(now + tonumber(ARGV[4]), MAX)
call('HSET', P .. 'cache', ARGV[2], spack('<I6', expires) .. ARGV[3])
call('ZADD', P .. 'cache_expiry', expires, ARGV[2])
return 1
