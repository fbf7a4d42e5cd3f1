-- ARGV: now, job. Answers: 'ok', the job; or 'no_job'.
local job = whole(member)
if not job then return { 'no_job' } end
return { 'ok', job }
