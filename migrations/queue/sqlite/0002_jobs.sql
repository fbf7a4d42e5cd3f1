-- One row a job. What changes with every claim and settle stands first, what is written once stands last.

create table jobs (
    seq               integer primary key,  -- order of arrival
    id                blob    not null unique check (length(id) = 16),
    queue             integer not null,
    state             text    not null
                      check (state in ('scheduled', 'ready', 'running', 'completed', 'dead', 'cancelled')),
    priority          integer not null check (priority between 0 and 9),
    run_at            integer not null,
    attempt           integer not null default 0 check (attempt >= 0),
    crashes           integer not null default 0 check (crashes >= 0),
    epoch             integer not null default 0 check (epoch >= 0),
    holder            blob,
    deadline          integer,
    started_at        integer,
    finished_at       integer,
    cancel_requested  integer not null default 0 check (cancel_requested in (0, 1)),
    dead_reason       text,
    log_lines         integer not null default 0,
    max_attempts      integer not null check (max_attempts >= 1),
    timeout_ms        integer not null check (timeout_ms >= 1),
    created_at        integer not null,
    kind              text    not null,
    enqueued_by       text    not null,
    payload           text    not null,
    tenant            text,
    unique_key        text,
    correlation_id    text,
    traceparent       text,
    tags              text,
    failures          text,
    progress          text,
    result            text,
    check ((state = 'running') = (holder is not null and deadline is not null)),
    check ((state in ('completed', 'dead', 'cancelled')) = (finished_at is not null)),
    check ((state = 'dead') = (dead_reason is not null))
) strict;

create index jobs_to_claim on jobs (queue, priority, run_at, seq) where state = 'ready';
create index jobs_to_promote on jobs (queue, run_at, seq) where state = 'scheduled';
create index jobs_to_rescue on jobs (holder, deadline, seq) where state = 'running';
create index jobs_to_prune on jobs (queue, state, finished_at, seq) where finished_at is not null;

-- A key is held while its job lives, and until keep_until in any case.
create table unique_keys (
    key         text    primary key,
    job         blob    not null check (length(job) = 16),
    live        integer not null check (live in (0, 1)),
    keep_until  integer not null
) strict, without rowid;
create index unique_keys_to_prune on unique_keys (keep_until) where live = 0;

create table job_logs (
    job      integer not null,  -- jobs.seq
    n        integer not null,
    at       integer not null,
    attempt  integer not null,
    line     text    not null,
    primary key (job, n)
) strict, without rowid;
