-- ARGV: now. Answers it.
return now
