-- ARGV: now, member, epoch (4 bytes), holder, lines. The last 200 stay. Answers 1, or 0 when the lease is stale.
call('HDEL', P .. 'gauges', '')
local member = ARGV[2]
local h = head_of(member)
if not h or state_of(h) ~= 'u' or sub(h, 32, 35) ~= ARGV[3] or holder_of(h) ~= ARGV[4] or not call('ZSCORE', P .. 'alive', ARGV[4]) then
  call('HINCRBY', P .. 'gauges', 'refusals', 1)
  return 0
end
local lines, prefix = {}, now .. '|' .. attempt_of(h) .. '|'
for i = 5, #ARGV do lines[#lines + 1] = prefix .. ARGV[i] end
if #lines == 0 then return 1 end
slices('RPUSH', P .. 'log:' .. member, lines)
call('LTRIM', P .. 'log:' .. member, -200, -1)
if not has(h, LOGGED) then
  write_head(member, sub(h, 1, 1) .. string.char(bit.bor(flags_of(h), LOGGED)) .. sub(h, 3))
end
return 1
