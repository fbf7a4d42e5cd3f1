-- ARGV: now, a pack's head (pack.lua; its time is not set yet), and what stands in it from the ids on. Keeps all of its jobs as they came, in one string and one entry. Answers:
-- 'ok', messages; or 'known': an id of them is known, so somebody must look at each.
local head, rest = ARGV[2], ARGV[3]
local n, length = sunpack('<I2B', head, 16)
local queue, priority = sub(head, 19, 18 + length), string.byte(head, 7)
if call('SISMEMBER', P .. 'queues', queue) == 0 then return { 'no_queue', queue } end
local wanted, ids = {}, {}
for i = 1, n do wanted[i] = sub(rest, ID * (i - 1) + 1, ID * i) end
for from = 1, n, 2000 do
  local found = call('HMGET', P .. 'ids', unpack(wanted, from, min(from + 1999, n)))
  for i = 1, #found do
    if found[i] then return { 'known' } end
  end
end
-- A block of their own: the next whole one.
local block = floor((tonumber(call('GET', P .. 'seq') or last_number()) + 1000) / 1000)
while call('EXISTS', pack_key(block)) == 1 do block = block + 1 end
local first = block * 1000
local prefix = string.format('%011d', block)
for i = 1, n do
  ids[2 * i - 1] = wanted[i]
  ids[2 * i] = prefix .. string.format('%03d', i - 1)
end
call('SET', P .. 'seq', member_of(first + 999))
local key = pack_key(block)
call('SET', key, spack('<I6', now) .. sub(head, 7))
-- The server fills up with zeros what nobody has written yet.
call('SETRANGE', key, PACK_HEAD + (MARK + CLAIM + TIME) * n, rest)
slices('HSET', P .. 'ids', ids)
call('HSET', P .. 'block_jobs', block, n)
call('ZADD', P .. 'blocks', block, block)
put_run(ready_key(queue, priority), NOW, first, n)
count(queue, 'r', n)
flush()
return told({ 'ok' })
