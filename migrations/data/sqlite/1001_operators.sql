-- Who may do what, and who did it. Times are milliseconds since 1970, UTC.

create table api_keys (
    id            text primary key,
    name          text not null check (length(name) between 1 and 100),
    role          text not null check (role in ('viewer', 'operator', 'admin')),
    digest        blob not null check (length(digest) = 32),
    created_at    integer not null,
    expires_at    integer,
    last_used_at  integer,
    revoked_at    integer
) strict;

create table audit_log (
    id          integer primary key autoincrement,
    at          integer not null,
    actor       text not null,
    source      text not null,
    action      text not null,
    subject     text not null,
    before      text,
    after       text
) strict;
create index audit_log_by_time on audit_log (at);
