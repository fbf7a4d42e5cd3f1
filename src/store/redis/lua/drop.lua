-- Taking jobs away whole: head, body, id, lists, and their share of the block they stand in.
local gone, gone_packed, gone_ids, gone_more, gone_lists, blocks_down = {}, {}, {}, {}, {}, {}

-- `h` is the job's last head; leaving its state's index is the caller's.
local function drop(member, h)
  gone[#gone + 1] = member
  if packed[member] then gone_packed[#gone_packed + 1] = member end
  gone_ids[#gone_ids + 1] = id_of(h)
  if has(h, PROGRESS) then gone_more[#gone_more + 1] = 'p' .. member end
  if has(h, RESULT) then gone_more[#gone_more + 1] = 'r' .. member end
  if has(h, FAILED) then gone_lists[#gone_lists + 1] = P .. 'fail:' .. member end
  if has(h, LOGGED) then gone_lists[#gone_lists + 1] = P .. 'log:' .. member end
  local block = floor(tonumber(member) / 1000)
  blocks_down[block] = (blocks_down[block] or 0) + 1
end

-- Few jobs of a block are left: they must not hold the fronts, or the pack, of a thousand in memory.
local FEW, FOLDS_MAX, folds = 20, 50, 0
local function fold(block)
  local pack = pack_of(block)
  if not pack and call('EXISTS', front_key(block)) == 0 then return end
  local members, folded = {}, {}
  for number = block * 1000, block * 1000 + (pack and pack.n or 1000) - 1 do members[#members + 1] = member_of(number) end
  local found = heads_of(members)
  for i = 1, #members do
    if found[i] and packed[members[i]] then
      local key, score = index_of(found[i])
      single_out(key, score, members[i])
    end
    if found[i] and (fronted[members[i]] or packed[members[i]]) then
      folded[#folded + 1] = members[i]
      folded[#folded + 1] = found[i]
    end
  end
  slices('HSET', P .. 'head', folded)
  for i = 1, #folded, 2 do stand_alone(folded[i]) end
  call('DEL', front_key(block), pack_key(block))
  packs[block] = false
end

local function flush_gone()
  slices('HDEL', P .. 'head', gone)
  slices('HDEL', P .. 'body', gone)
  slices('HDEL', P .. 'ids', gone_ids)
  slices('HDEL', P .. 'more', gone_more)
  for i = 1, #gone_lists do call('DEL', gone_lists[i]) end
  for i = 1, #gone_packed do
    local pack, at = pack_at(tonumber(gone_packed[i]))
    if pack then put_marks(pack, at, LEFT, 1) end
    packed[gone_packed[i]] = nil
  end
  for block, n in pairs(blocks_down) do
    local left, pack = call('HINCRBY', P .. 'block_jobs', block, -n), pack_of(block)
    if left <= 0 and pack and marks_in(pack, 0, pack.n) ~= string.rep(LEFT, pack.n) then
      -- The counter was taken away by hand: sweep.lua counts again.
      call('HDEL', P .. 'block_jobs', block)
    elseif left <= 0 then
      call('HDEL', P .. 'block_jobs', block)
      call('ZREM', P .. 'blocks', block)
      call('DEL', front_key(block), pack_key(block))
      packs[block] = false
    elseif left <= FEW and folds < FOLDS_MAX and (not pack or left * 4 < pack.n) then
      folds = folds + 1
      fold(block)
    end
  end
end
