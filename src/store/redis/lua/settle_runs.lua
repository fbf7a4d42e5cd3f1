-- ARGV: now, number of runs, then the runs (first member, holder, epoch, how many: jobs side by side that are done and left nothing
-- behind), all of them in packs. Answers 1; or 0: something is not as it should be, nothing was written, and each must be
-- looked at (settle.lua).
local runs, living = tonumber(ARGV[2]), {}
for i = 1, runs do
  local run = ARGV[i + 2]
  local number, n = tonumber(sub(run, 1, 14)), (sunpack('<I4', run, 35))
  local pack, place = pack_at(number)
  local holder = sub(run, 15, 30)
  if living[holder] == nil then living[holder] = call('ZSCORE', P .. 'alive', holder) end
  if not pack or not living[holder] or not complete(pack, place, n, sub(run, 15, 34)) then return 0 end
end
-- A removal first: a full server lets the rest be written then.
call('HDEL', P .. 'gauges', '')
local function ztake(key, member) call('ZREM', key, member) end
local function count(queue, state, by) call('HINCRBY', P .. 'counts', state .. ':' .. queue, by) end
write_completed(ztake, count)
return 1
