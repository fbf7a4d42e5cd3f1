-- Sending: how each endpoint is sent to, how it has answered, which of its deliveries is next, and a log in which every
-- POST has its line before it is made.

-- No row: the defaults.
create table endpoint_delivery (
    endpoint_id       text primary key references endpoints (id) on delete cascade,
    ordering          text not null default 'none' check (ordering = 'none' or ordering = 'strict'),
    max_concurrency   integer check (max_concurrency between 1 and 1000),
    rate_limit        integer check (rate_limit between 1 and 1000000),
    rate_window_ms    integer check (rate_window_ms between 1000 and 86400000),
    retry_delays_ms   text check (retry_delays_ms is null or json_valid(retry_delays_ms)),
    updated_at        integer not null,
    check ((rate_limit is null) = (rate_window_ms is null))
) strict;

-- One row for each endpoint that has failed and not answered 2xx since.
create table endpoint_trouble (
    endpoint_id     text primary key references endpoints (id) on delete cascade,
    failing_since   integer not null,
    last_failed_at  integer not null,
    failures        integer not null check (failures > 0),
    check (last_failed_at >= failing_since)
) strict;

-- Unsettled deliveries of endpoints with strict order, in the order in which their messages were fanned out.
create table delivery_order (
    seq          integer primary key autoincrement,
    endpoint_id  text not null,
    delivery_id  text not null unique references deliveries (id) on delete cascade
) strict;
create index delivery_order_by_endpoint on delivery_order (endpoint_id, seq);

-- An open line (ended_at is null) is a POST under way, and the endpoint's lease for it until expires_at.
create table delivery_attempts_1004 (
    id             text primary key check (substr(id, 1, 4) = 'att_'),
    delivery_id    text not null references deliveries (id),
    endpoint_id    text not null,
    attempt        integer not null check (attempt > 0),
    at             integer not null,
    node           text not null,
    expires_at     integer not null,
    ended_at       integer,
    host           text not null,
    address        text,
    reused         integer check (reused = 0 or reused = 1),
    status         integer check (status between 100 and 999),
    error_class    text,
    error          text,
    duration_ms    integer check (duration_ms >= 0),
    dns_ms         integer check (dns_ms >= 0),
    connect_ms     integer check (connect_ms >= 0),
    tls_ms         integer check (tls_ms >= 0),
    first_byte_ms  integer check (first_byte_ms >= 0),
    next_at        integer,
    reply          text not null check (length(reply) <= 1024),
    check (error_class is null or error_class = 'timeout' or error_class = 'dns' or error_class = 'connect'
        or error_class = 'tls' or error_class = 'broken' or error_class = 'refused' or error_class = 'stopped'
        or error_class = 'interrupted'),
    check (ended_at is not null or (status is null and error_class is null and duration_ms is null)),
    check (ended_at is null or (status is null) = (error_class is not null)),
    check ((error is null) = (error_class is null))
) strict;
insert into delivery_attempts_1004
    (id, delivery_id, endpoint_id, attempt, at, node, expires_at, ended_at, host, address, status, error_class, error,
     duration_ms, reply)
select a.id, a.delivery_id, d.endpoint_id, a.attempt, a.at - a.duration_ms, 'unknown', a.at, a.at, a.host, a.address,
       a.status, a.error_class, a.error, a.duration_ms, a.reply
from delivery_attempts a join deliveries d on d.id = a.delivery_id;
drop table delivery_attempts;
alter table delivery_attempts_1004 rename to delivery_attempts;
create index delivery_attempts_by_delivery on delivery_attempts (delivery_id, id);
create index delivery_attempts_by_age on delivery_attempts (at);
create index delivery_attempts_open on delivery_attempts (endpoint_id, expires_at) where ended_at is null;
create index delivery_attempts_overdue on delivery_attempts (expires_at) where ended_at is null;
