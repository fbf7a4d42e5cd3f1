-- ARGV: now, field.
call('ZREM', P .. 'cache_expiry', ARGV[2])
return call('HDEL', P .. 'cache', ARGV[2])
