-- The job whose id is ARGV[2]: its member and its head.
local member = call('HGET', P .. 'ids', ARGV[2])
local h = member and head_of(member)
if not h then return { 'no_job' } end
