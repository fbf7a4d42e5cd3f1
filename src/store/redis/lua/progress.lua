-- ARGV: now, member, epoch (4 bytes), holder, progress (JSON). Answers 1, or 0 when the lease is stale.
call('HDEL', P .. 'gauges', '')
local member = ARGV[2]
local h = head_of(member)
if not h or state_of(h) ~= 'u' or sub(h, 32, 35) ~= ARGV[3] or holder_of(h) ~= ARGV[4] or not call('ZSCORE', P .. 'alive', ARGV[4]) then
  call('HINCRBY', P .. 'gauges', 'refusals', 1)
  return 0
end
call('HSET', P .. 'more', 'p' .. member, ARGV[5])
if not has(h, PROGRESS) then
  write_head(member, sub(h, 1, 1) .. string.char(bit.bor(flags_of(h), PROGRESS)) .. sub(h, 3))
end
return 1
