-- One row a worker process' life. A dead one stays a while, so that it can't come back.

create table workers (
    incarnation  blob    primary key check (length(incarnation) = 16),
    state        text    not null check (state in ('alive', 'dead', 'gone')),
    label        text    not null,
    queues       text    not null,
    running      integer not null,
    started_at   integer not null,
    last_beat    integer not null,
    lease_until  integer not null,
    skew_ms      integer not null,
    draining     integer not null default 0 check (draining in (0, 1)),
    ended_at     integer,
    check ((state = 'alive') = (ended_at is null))
) strict, without rowid;
create index workers_alive on workers (lease_until) where state = 'alive';
create index workers_to_prune on workers (ended_at) where ended_at is not null;
