-- Whether a job is of a kind and of a tenant: '' asks for any, '=text' for that one. Layout of the body in wire.rs.
local function skip_text(body, at)
  local len = sunpack('<I4', body, at)
  if len == 4294967295 then return at + 4, at + 3 end
  return at + 4 + len, at + 3 + len
end

local function fits(one, kind, tenant)
  if kind == '' and tenant == '' then return true end
  local body = body_of(one)
  if not body then return false end
  local at = 8 + sunpack('<I2', body)
  local next, last = skip_text(body, at)
  if kind ~= '' and sub(kind, 2) ~= sub(body, at + 4, last) then return false end
  at = skip_text(body, next)
  if tenant == '' then return true end
  if sub(body, at, at + 3) == '\255\255\255\255' then return false end
  next, last = skip_text(body, at)
  return sub(tenant, 2) == sub(body, at + 4, last)
end
