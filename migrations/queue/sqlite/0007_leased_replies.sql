-- An idempotency key is held by one request at a time, for a short lease, while its fingerprint is kept for the whole time
-- to live. When it was first reserved gives the job of a repetition the same id as before.
alter table replies add column reserved_at integer not null default 0;
alter table replies add column busy_until integer not null default 0;
