-- ARGV: now, then holder, first and last entry of its index. Answers the members there.
local reply = {}
for i = 2, #ARGV, 3 do
  for _, entry in ipairs(call('ZRANGE', LEASES .. ARGV[i], ARGV[i + 1], ARGV[i + 2])) do
    local first, n = span_of(entry)
    -- A run stands until the last of its jobs is done.
    local pack, at = false, nil
    if first and n > 1 then pack, at = pack_at(first) end
    local marks = pack and marks_in(pack, at, n)
    for nth = 0, (n or 0) - 1 do
      if not marks or string.byte(marks, MARK * nth + 1) == 117 then reply[#reply + 1] = member_of(first + nth) end
    end
  end
end
return reply
