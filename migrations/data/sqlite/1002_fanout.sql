-- Webhooks out: who wants what, what was said, what became of it. Times are milliseconds since 1970, UTC.
-- Ids are a prefix and a UUIDv7 in hex, so that their order is the order of time and pages need no other key.

create table endpoints (
    id           text primary key check (substr(id, 1, 3) = 'ep_'),
    tenant       text not null check (length(tenant) between 1 and 64),
    url          text not null check (length(url) between 1 and 2048),
    description  text not null check (length(description) <= 500),
    event_types  text not null check (json_valid(event_types)),
    state        text not null check (state in ('enabled', 'disabled')),
    reason       text,
    declared     integer not null check (declared in (0, 1)),
    created_at   integer not null,
    updated_at   integer not null,
    check ((state = 'disabled') = (reason is not null))
) strict;
create index endpoints_by_tenant on endpoints (tenant, id);
-- One endpoint for each declaration in the configuration, however many processes start with it at once.
create unique index endpoints_declared on endpoints (tenant, url) where declared = 1;

create table endpoint_secrets (
    id           text primary key check (substr(id, 1, 4) = 'sec_'),
    endpoint_id  text not null references endpoints (id) on delete cascade,
    secret       text not null,
    created_at   integer not null,
    expires_at   integer
) strict;
create index endpoint_secrets_by_endpoint on endpoint_secrets (endpoint_id);
-- All but the newest secret of an endpoint run out.
create unique index endpoint_secrets_current on endpoint_secrets (endpoint_id) where expires_at is null;

create table messages (
    id          text primary key check (substr(id, 1, 4) = 'msg_'),
    tenant      text not null,
    event_id    text not null,
    event_type  text not null,
    body        text not null,
    created_at  integer not null,
    fanned_at   integer,
    unique (tenant, event_id)
) strict;
create index messages_by_tenant on messages (tenant, id);
create index messages_by_age on messages (created_at);

-- No foreign key to endpoints: what was delivered stays known after its endpoint is gone.
create table deliveries (
    id           text primary key check (substr(id, 1, 4) = 'dlv_'),
    message_id   text not null references messages (id),
    endpoint_id  text not null,
    tenant       text not null,
    state        text not null check (state in ('pending', 'failed', 'succeeded', 'exhausted', 'cancelled')),
    attempts     integer not null check (attempts >= 0),
    next_at      integer,
    last_status  integer check (last_status between 100 and 999),
    last_error   text,
    epoch        integer not null,
    created_at   integer not null,
    updated_at   integer not null,
    settled_at   integer,
    unique (message_id, endpoint_id),
    check ((state = 'failed') = (next_at is not null)),
    check ((state in ('pending', 'failed')) = (settled_at is null)),
    check (state not in ('failed', 'succeeded', 'exhausted') or attempts > 0)
) strict;
create index deliveries_by_tenant on deliveries (tenant, id);
create index deliveries_by_endpoint on deliveries (endpoint_id, id);
create index deliveries_by_state on deliveries (state, id);
create index deliveries_unsettled on deliveries (updated_at) where settled_at is null;
create index deliveries_by_age on deliveries (settled_at) where settled_at is not null;

create table delivery_attempts (
    id           text primary key check (substr(id, 1, 4) = 'att_'),
    delivery_id  text not null references deliveries (id),
    attempt      integer not null check (attempt > 0),
    at           integer not null,
    host         text not null,
    address      text,
    status       integer check (status between 100 and 999),
    error_class  text check (error_class in ('timeout', 'dns', 'connect', 'tls', 'broken', 'refused', 'stopped')),
    error        text,
    duration_ms  integer not null check (duration_ms >= 0),
    reply        text not null check (length(reply) <= 1024),
    check ((status is null) = (error_class is not null)),
    check ((error is null) = (error_class is null))
) strict;
create index delivery_attempts_by_delivery on delivery_attempts (delivery_id, id);
create index delivery_attempts_by_age on delivery_attempts (at);
