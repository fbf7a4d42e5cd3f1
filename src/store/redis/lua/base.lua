-- What every script begins with: the namespace, the store's clock, and commands in slices.
--
-- Keys (all share the namespace's hash tag, so one script may touch any of them):
--   queues           set of queue names          q:<queue>        hash: paused, rate, retention, completed, number
--   seq              number of the last job      ids              hash: job id -> member
--   head             hash: member -> what changes (layout in head.lua)
--   front:<block>    string: the fronts of a thousand heads (front.lua)    numbers  hash: number -> queue
--   body             hash: member -> what is written once (layout in wire.rs; the unique key stands first)
--   pack:<block>     string: jobs that came together, whole (pack.lua); nothing of them is in head and body
--   more             hash: p<member> progress, r<member> result
--   fail:<member>    list of failures            log:<member>     list of lines
--   ready:<queue>:<priority>  zset by run_at     due:<queue>      zset by run_at
--   lease:<worker>   zset by deadline            end:<queue>:<state letter>  zset by finished_at
--                    members, and runs of them that stand in packs (pack.lua)
--   blocks, block_jobs        which thousands of members hold jobs, and how many
--   counts           hash: <state letter>:<queue> -> jobs
--   keys, keys_expiry         held unique keys; those whose job has ended, by keep_until
--   alive, ended     zsets of workers            w:<worker>       hash: what it says of itself, last claims
--   bereft           set of dead workers whose jobs are not all taken back
--   stop:<worker>    set of members that somebody wants cancelled
--   gauges           hash: refusals, orphans, due, repaired, repair_block and repair_at (where repair looked last, and when)
--   gauges           also sweep:<hash> and sweep:index (where the sweep goes on)
--   schedules        zset of names, all scored 0    s:<name>         hash: declared, overridden, paused, cursor, last_job,
--                                                                    last_due, held_due
--   fired:<name>     list of a schedule's last hundred events, newest first: <at>|<word>|<due>|<job>|<note>
--   limits           hash: key -> row (limits.lua)  limits_expiry    zset by expiry
--   cache            hash: <bytes of tenant>:<tenant><key> -> expiry (6 bytes), value       cache_expiry: zset
--   replies          hash: <bytes of scope>:<scope><key> -> row (reserve.lua)               replies_expiry: zset
--   breakers         hash: name -> row (breaker.lua)
-- A member is a job's number of arrival in 14 digits, so that the order of text is the order of arrival.
local P = KEYS[1]
local call, sub, spack, sunpack, floor, min = redis.call, string.sub, struct.pack, struct.unpack, math.floor, math.min
-- Times are unsigned numbers of six bytes: up to the year 10889.
local MAX = 281474976710655
local now = tonumber(ARGV[1])
if now < 0 then
  local time = call('TIME')
  now = time[1] * 1000 + floor(time[2] / 1000)
end

-- As text: Redis turns a number into text with much more ado, and does it for each argument.
local NOW = string.format('%.0f', now)

-- Lua's stack holds some 8,000 values; two thousand is far from it.
local function slices(command, key, list)
  for i = 1, #list, 2000 do
    call(command, key, unpack(list, i, min(i + 1999, #list)))
  end
end

local function fetch(key, fields)
  local values = {}
  for i = 1, #fields, 2000 do
    local part = call('HMGET', key, unpack(fields, i, min(i + 1999, #fields)))
    for k = 1, #part do values[i + k - 1] = part[k] end
  end
  return values
end
