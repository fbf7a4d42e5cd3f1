-- Where numbering goes on when somebody has deleted `seq`: above all that can have been given, for none may be given twice.
local function last_number()
  if call('EXISTS', P .. 'head', P .. 'blocks', P .. 'ids', P .. 'block_jobs') == 0 then return 0 end
  local top = call('ZREVRANGE', P .. 'blocks', 0, 0)[1]
  return math.max(now, tonumber(top or 0) * 1000 + 999)
end
