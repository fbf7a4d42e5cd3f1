-- A whole job: member, head, body, progress, result, failures. Nothing where head or body is missing.
local function whole(one)
  local head = head_of(one)
  local body = head and body_of(one)
  if not head or not body then return nil end
  local more, failures = { false, false }, {}
  if has(head, PROGRESS) or has(head, RESULT) then more = call('HMGET', P .. 'more', 'p' .. one, 'r' .. one) end
  if has(head, FAILED) then failures = call('LRANGE', P .. 'fail:' .. one, 0, -1) end
  return { one, head, body, has(head, PROGRESS) and more[1], has(head, RESULT) and more[2], failures }
end
