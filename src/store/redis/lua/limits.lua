-- Rate limits. A row is: at, level, previous. Fixed window: level is used in the window that began at `at`; sliding window:
-- level in it, previous in the one before; token bucket: tokens left times window_ms as of `at`, so that refilling is a
-- whole number each millisecond. Numbers are exact up to 2^53.
local function ceil_div(a, b) return -floor(-a / b) end

local function window_of(rate) return math.max(1, min(rate.window_ms, 366 * 24 * 3600000)) end

local function limit_row(key, rate)
  local row, window = call('HGET', P .. 'limits', key), window_of(rate)
  local at, level, previous
  if row then at, level, previous = sunpack('<I6dd', row) end
  if rate.kind == 'token_bucket' then
    local full = rate.burst * window
    if not row then return now, full, 0 end
    return math.max(at, now), min(full, level + math.max(0, now - at) * rate.limit), 0
  end
  local begin = now - now % window
  -- A clock that went back must not give the window out twice.
  if row and at >= begin then return at, level, previous end
  if row and at == begin - window then return begin, 0, level end
  return begin, 0, 0
end

local function limit_left(rate, at, level, previous)
  local window = window_of(rate)
  if rate.kind == 'fixed_window' then return math.max(0, rate.limit - level) end
  if rate.kind == 'token_bucket' then return math.max(0, floor(level / window)) end
  local unseen = math.max(0, min(window, now - at))
  return math.max(0, rate.limit - level - ceil_div(previous * (window - unseen), window))
end

-- How far into a window at most `room` of the `used` ones before it are in view.
local function limit_fade(window, used, room)
  if used <= room then return 0 end
  return window - floor(room * window / used)
end

local function limit_wait(rate, at, level, previous, cost)
  local window, ms = window_of(rate), nil
  if rate.kind == 'fixed_window' then
    ms = at + window - now
  elseif rate.kind == 'token_bucket' then
    ms = ceil_div(cost * window - level, math.max(1, rate.limit))
  else
    local room = rate.limit - cost
    if room >= level then
      ms = at + limit_fade(window, previous, room - level) - now
    else
      -- Not in this window; in the next one what was used in this one must fade as well.
      ms = at + window + limit_fade(window, level, math.max(0, room)) - now
    end
  end
  return math.max(1, ms)
end

-- When a bucket is full again.
local function limit_full_at(rate, at, level)
  return at + floor((rate.burst * window_of(rate) - level) / math.max(1, rate.limit)) + 1
end

local function limit_available(key, rate)
  local at, level, previous = limit_row(key, rate)
  return limit_left(rate, at, level, previous)
end

-- When the next single one can be taken; now when it can already.
local function limit_next(key, rate)
  local at, level, previous = limit_row(key, rate)
  if limit_left(rate, at, level, previous) > 0 then return now end
  return now + limit_wait(rate, at, level, previous, 1)
end

-- Takes what is known to be left.
local function limit_take(key, rate, cost)
  local at, level, previous = limit_row(key, rate)
  local window = window_of(rate)
  local expires = now + 2 * window + 1000
  if rate.kind == 'token_bucket' then
    level = level - cost * window
    expires = limit_full_at(rate, at, level)
  else
    level = level + cost
  end
  call('HSET', P .. 'limits', key, spack('<I6dd', at, level, previous))
  call('ZADD', P .. 'limits_expiry', expires, key)
  return at, level, previous
end
