-- A job in two rows. What changes with every claim and settle stays in `jobs`, some 90 bytes of it; what is written once, or when
-- something goes wrong, moves to `bodies`. A claim and a settle then rewrite three pages where they rewrote ten.

create table bodies (
    seq             integer primary key,  -- jobs.seq
    kind            text    not null,
    tenant          text,
    enqueued_by     text    not null,
    correlation_id  text,
    traceparent     text,
    tags            text,
    failures        text,
    progress        text,
    result          text,
    payload         text    not null
) strict;

insert into bodies (seq, kind, tenant, enqueued_by, correlation_id, traceparent, tags, failures, progress, result, payload)
select seq, kind, tenant, enqueued_by, correlation_id, traceparent, tags, failures, progress, result, payload
from jobs order by seq;

create table jobs_0008 (
    seq               integer primary key,  -- order of arrival
    id                blob    not null unique check (length(id) = 16),
    queue             integer not null,
    state             text    not null
                      check (state = 'ready' or state = 'running' or state = 'completed' or state = 'scheduled'
                             or state = 'dead' or state = 'cancelled'),
    priority          integer not null check (priority >= 0 and priority <= 9),
    run_at            integer not null,
    attempt           integer not null default 0 check (attempt >= 0),
    crashes           integer not null default 0 check (crashes >= 0),
    epoch             integer not null default 0 check (epoch >= 0),
    holder            blob,
    deadline          integer,
    started_at        integer,
    finished_at       integer,
    cancel_requested  integer not null default 0 check (cancel_requested = 0 or cancel_requested = 1),
    dead_reason       text,
    log_lines         integer not null default 0,
    max_attempts      integer not null check (max_attempts >= 1),
    timeout_ms        integer not null check (timeout_ms >= 1),
    created_at        integer not null,
    unique_key        text,
    check ((state = 'running') = (holder is not null and deadline is not null)),
    check ((state = 'completed' or state = 'dead' or state = 'cancelled') = (finished_at is not null)),
    check ((state = 'dead') = (dead_reason is not null))
) strict;

insert into jobs_0008 (seq, id, queue, state, priority, run_at, attempt, crashes, epoch, holder, deadline, started_at,
                       finished_at, cancel_requested, dead_reason, log_lines, max_attempts, timeout_ms, created_at, unique_key)
select seq, id, queue, state, priority, run_at, attempt, crashes, epoch, holder, deadline, started_at, finished_at,
       cancel_requested, dead_reason, log_lines, max_attempts, timeout_ms, created_at, unique_key
from jobs order by seq;
drop table jobs;
alter table jobs_0008 rename to jobs;

create index jobs_to_claim on jobs (queue, priority, run_at) where state = 'ready';
create index jobs_to_promote on jobs (queue, run_at) where state = 'scheduled';
create index jobs_to_rescue on jobs (holder, deadline) where state = 'running';
create index jobs_to_prune on jobs (queue, state, finished_at) where finished_at is not null;
