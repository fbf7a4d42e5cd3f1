-- Small state that all processes share.

create table cache (
    tenant      text    not null,
    key         text    not null,
    value       blob    not null,
    expires_at  integer not null,
    primary key (tenant, key)
) strict, without rowid;
create index cache_to_prune on cache (expires_at);

-- What the numbers mean depends on the kind of limit; see store/sqlite/limits.rs.
create table limits (
    key         text    primary key,
    at          integer not null,
    level       integer not null,
    previous    integer not null,
    expires_at  integer not null
) strict, without rowid;
create index limits_to_prune on limits (expires_at);

create table replies (
    scope         text    not null,
    key           text    not null,
    fingerprint   blob    not null,
    status        integer,
    content_type  text,
    body          blob,
    expires_at    integer not null,
    primary key (scope, key),
    check ((status is null) = (body is null))
) strict, without rowid;
create index replies_to_prune on replies (expires_at);

create table breakers (
    name      text    primary key,
    failures  integer not null,
    until     integer,           -- open until then
    probing   integer not null check (probing in (0, 1))
) strict, without rowid;
