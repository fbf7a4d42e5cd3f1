-- What is decided of each schedule. All due times up to the cursor are.

create table schedules (
    name        text    primary key,
    declared    text    not null,
    overridden  text,
    paused      integer not null default 0 check (paused in (0, 1)),
    cursor      integer not null,
    last_job    blob,
    last_due    integer,
    held_due    integer
) strict, without rowid;

create table schedule_history (
    id        integer primary key,
    schedule  text    not null,
    at        integer not null,
    what      text    not null
              check (what in ('enqueued', 'run_by_hand', 'skipped_overlap', 'missed', 'changed')),
    due       integer,
    job       blob,
    note      text    not null
) strict;
create index schedule_history_newest on schedule_history (schedule, id);
