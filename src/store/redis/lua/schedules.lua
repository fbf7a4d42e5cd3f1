-- ARGV: now, where to begin ('-' or '(' and a name), how many. Answers: the name after which to go on ('': that was all), then
-- by name eight texts of each, '' for nothing.
local names = call('ZRANGEBYLEX', P .. 'schedules', ARGV[2], '+', 'LIMIT', 0, ARGV[3])
local reply = { #names == tonumber(ARGV[3]) and names[#names] or '' }
for _, name in ipairs(names) do
  local row = call('HMGET', P .. 's:' .. name, 'declared', 'overridden', 'paused', 'cursor', 'last_job', 'last_due', 'held_due')
  -- Without a cursor somebody has taken it away by hand.
  if row[4] then
    reply[#reply + 1] = name
    for i = 1, 7 do reply[#reply + 1] = row[i] or '' end
  end
end
return reply
