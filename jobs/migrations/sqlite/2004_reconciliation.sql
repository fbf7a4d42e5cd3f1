-- What a comparison of our books with an outside system's found.

create table reconciliation_runs (
    id            text primary key,
    system        text not null,
    window_start  integer not null,
    window_end    integer not null check (window_end > window_start),
    started_at    integer not null,
    finished_at   integer,
    checked       integer not null default 0,
    matched       integer not null default 0,
    missing       integer not null default 0,
    extra         integer not null default 0,
    differing     integer not null default 0,
    in_flight     integer not null default 0,
    check (finished_at is null or checked = matched + missing + extra + differing + in_flight)
) strict;
create index reconciliation_runs_by_start on reconciliation_runs (started_at);

-- `missing`: they have it, we don't. `extra`: we have it, they don't. Minor units where the field is an amount.
create table reconciliation_differences (
    run_id        text not null references reconciliation_runs (id) on delete cascade,
    object        text not null check (object in ('subscription', 'invoice')),
    object_id     text not null,
    kind          text not null check (kind in ('missing', 'extra', 'differs')),
    field         text not null,
    ours          text,
    theirs        text,
    ours_minor    integer,
    theirs_minor  integer,
    currency      text,
    primary key (run_id, object, object_id, field)
) strict;
