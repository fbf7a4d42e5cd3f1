-- Queues and their maintained counters. Times everywhere: milliseconds since 1970, UTC.

create table queues (
    id               integer primary key,
    name             text    not null unique,
    paused           integer not null default 0 check (paused in (0, 1)),
    rate             text,                       -- a rate limit as JSON
    retention        text    not null,           -- a retention as JSON
    completed_total  integer not null default 0  -- completed since the queue was made, pruned ones too
) strict;

create table counts (
    queue  integer not null,
    state  text    not null check (state in ('scheduled', 'ready', 'running', 'completed', 'dead', 'cancelled')),
    n      integer not null check (n >= 0),
    primary key (queue, state)
) strict, without rowid;

create table gauges (
    name   text    primary key,
    value  integer not null
) strict, without rowid;
insert into gauges (name, value) values ('lease_refusals', 0);
