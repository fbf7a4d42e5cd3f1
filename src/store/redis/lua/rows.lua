-- Heads as rows of `head:<block>`, a thousand to a block: neighbours are read and written by one command. A block that has
-- lost nearly all of its jobs is kept as fields of the hash `head` instead (drop.lua), so that one job left over after a
-- month does not hold a whole block's memory.
local ROW, NO_ROW = 92, string.rep('\0', 92)
-- Neighbours are read together over gaps so long.
local GAP = 8
local thin, row_numbers, row_texts = {}, {}, {}

local function text_of(number) return string.format('%014d', number) end

-- The rows of numbers[from] to numbers[to], which ascend within one block.
local function read_rows(numbers, from, to, rows)
  local first, block = numbers[from], floor(numbers[from] / 1000)
  local start = (first - block * 1000) * ROW
  local text = call('GETRANGE', P .. 'head:' .. block, start, start + (numbers[to] - first + 1) * ROW - 1)
  if text == '' then
    local members = {}
    for i = from, to do members[#members + 1] = text_of(numbers[i]) end
    local found = call('HMGET', P .. 'head', unpack(members))
    for i = from, to do
      rows[i] = found[i - from + 1]
      if rows[i] then thin[block] = true end
    end
    return
  end
  for i = from, to do
    local at = (numbers[i] - first) * ROW
    local row = sub(text, at + 1, at + ROW)
    rows[i] = #row == ROW and string.byte(row) ~= 0 and row
  end
end

-- The heads of these jobs, false where there is none.
local function heads_of(members)
  local rows, numbers, n = {}, {}, #members
  for i = 1, n do numbers[i] = tonumber(members[i]) or 0 end
  local from = 1
  while from <= n do
    local to, last = from, numbers[from]
    local next_block = floor(last / 1000) * 1000 + 1000
    while to < n do
      local next = numbers[to + 1]
      if next <= last or next - last > GAP or next >= next_block then break end
      to, last = to + 1, next
    end
    read_rows(numbers, from, to, rows)
    from = to + 1
  end
  return rows
end

local function head_of(member) return heads_of({ member })[1] end

-- All heads of a block, by their place in it (1 to 1,000).
local function heads_in(block)
  local numbers, rows = {}, {}
  for i = 1, 1000 do numbers[i] = block * 1000 + i - 1 end
  read_rows(numbers, 1, 1000, rows)
  return rows
end

local function put_head(member, h)
  local n = #row_numbers + 1
  row_numbers[n] = tonumber(member)
  row_texts[n] = h
end

local function write_rows()
  local from, n = 1, #row_numbers
  while from <= n do
    local first = row_numbers[from]
    local to, block = from, floor(first / 1000)
    if thin[block] then
      if row_texts[from] == NO_ROW then
        call('HDEL', P .. 'head', text_of(first))
      else
        call('HSET', P .. 'head', text_of(first), row_texts[from])
      end
    else
      local last = min(n, from + block * 1000 + 999 - first)
      while to < last and row_numbers[to + 1] == row_numbers[to] + 1 do to = to + 1 end
      call('SETRANGE', P .. 'head:' .. block, (first - block * 1000) * ROW, table.concat(row_texts, '', from, to))
    end
    from = to + 1
  end
  row_numbers, row_texts = {}, {}
end
