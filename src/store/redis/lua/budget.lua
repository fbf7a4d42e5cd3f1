-- ARGV: now, key, limit (JSON). Answers: how many are left, when it is full again.
local rate = cjson.decode(ARGV[3])
local at, level, previous = limit_row(ARGV[2], rate)
local full
if rate.kind == 'token_bucket' then
  full = limit_full_at(rate, at, level)
else
  full = at + (rate.kind == 'sliding_window' and 2 or 1) * window_of(rate)
end
return { limit_left(rate, at, level, previous), full }
