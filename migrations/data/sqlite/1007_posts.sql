-- A POST under way has a row in a small table of its own, and its line in the log is written once, when it has ended. Before, the
-- line was written twice and kept five indexes; now it is one row in one tree, in the order in which it is read.

-- Written and durable before the POST begins: the endpoint's lease for it until expires_at. Deliveries are looked up when a row
-- is written; a row whose delivery is gone meanwhile is taken away by mending.
create table delivery_posts (
    endpoint_id  text not null,
    delivery_id  text not null,
    id           text not null check (substr(id, 1, 4) = 'att_'),
    attempt      integer not null check (attempt > 0),
    at           integer not null,
    node         text not null,
    expires_at   integer not null,
    host         text not null,
    primary key (endpoint_id, delivery_id, id)
) strict, without rowid;

-- POSTs that have ended. Their deliveries say whose they are.
create table delivery_attempts_1007 (
    delivery_id    text not null references deliveries (id),
    id             text not null check (substr(id, 1, 4) = 'att_'),
    attempt        integer not null check (attempt > 0),
    at             integer not null,
    ended_at       integer not null,
    node           text not null,
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
    primary key (delivery_id, id),
    check (error_class is null or error_class = 'timeout' or error_class = 'dns' or error_class = 'connect'
        or error_class = 'tls' or error_class = 'broken' or error_class = 'refused' or error_class = 'stopped'
        or error_class = 'interrupted'),
    check ((status is null) = (error_class is not null)),
    check ((error is null) = (error_class is null))
) strict, without rowid;
-- Nothing is under way while tables are brought up to date: a line that is open belongs to a process that has ended. It was
-- counted when it was opened.
insert into delivery_attempts_1007
    (delivery_id, id, attempt, at, ended_at, node, host, address, reused, status, error_class, error, duration_ms, dns_ms,
     connect_ms, tls_ms, first_byte_ms, next_at, reply)
select delivery_id, id, attempt, at, coalesce(ended_at, expires_at), node, host, address, reused, status,
       case when ended_at is null then 'interrupted' else error_class end,
       case when ended_at is null then 'its process ended, or lost the job, before the outcome was logged' else error end,
       case when ended_at is null then max(expires_at - at, 0) else duration_ms end,
       dns_ms, connect_ms, tls_ms, first_byte_ms, next_at, reply
from delivery_attempts order by delivery_id, id;
drop table delivery_attempts;
alter table delivery_attempts_1007 rename to delivery_attempts;

-- Nearly all deliveries end as succeeded: whoever asks for those walks the others' index, and settling one takes it out here.
drop index deliveries_by_state;
create index deliveries_by_state on deliveries (state, id) where state <> 'succeeded';
-- The index above holds the same rows, in the order in which they were opened.
drop index deliveries_unsettled;

-- Rises with every change of what a delivery has to know of its endpoint, whoever makes it: what was read under the same number
-- still holds.
create table endpoint_revision (
    one  integer primary key check (one = 1),
    n    integer not null
) strict;
insert into endpoint_revision (one, n) values (1, 1);
create trigger endpoints_updated after update on endpoints begin update endpoint_revision set n = n + 1; end;
create trigger endpoints_deleted after delete on endpoints begin update endpoint_revision set n = n + 1; end;
create trigger endpoint_secrets_added after insert on endpoint_secrets begin update endpoint_revision set n = n + 1; end;
create trigger endpoint_secrets_updated after update on endpoint_secrets begin update endpoint_revision set n = n + 1; end;
create trigger endpoint_secrets_deleted after delete on endpoint_secrets begin update endpoint_revision set n = n + 1; end;
create trigger endpoint_delivery_added after insert on endpoint_delivery begin update endpoint_revision set n = n + 1; end;
create trigger endpoint_delivery_updated after update on endpoint_delivery begin update endpoint_revision set n = n + 1; end;
create trigger endpoint_delivery_deleted after delete on endpoint_delivery begin update endpoint_revision set n = n + 1; end;
