-- ARGV: now, then meta and body of each job. Answers: 'ok', which are new ('1' or '0' each), the ids kept, messages.
local n = (#ARGV - 1) / 2
local unknown = unknown_queue(2, n)
if unknown then return { 'no_queue', unknown } end
local new, kept = {}, {}
for i = 1, n do
  local id, is_new = place(ARGV[2 * i], ARGV[2 * i + 1])
  kept[i] = id
  new[i] = is_new and '1' or '0'
end
flush_new()
flush()
return told({ 'ok', table.concat(new), table.concat(kept) })
