-- ARGV: now, key, limit (JSON), cost. Answers: 1 and how many are left, or 0 and how long to wait; nothing is taken then.
local key, rate, cost = ARGV[2], cjson.decode(ARGV[3]), tonumber(ARGV[4])
local at, level, previous = limit_row(key, rate)
if limit_left(rate, at, level, previous) < cost then
  return { 0, limit_wait(rate, at, level, previous, cost) }
end
-- A removal first: what is running must come to its end on a full server too.
call('HDEL', P .. 'gauges', '')
at, level, previous = limit_take(key, rate, cost)
return { 1, limit_left(rate, at, level, previous) }
