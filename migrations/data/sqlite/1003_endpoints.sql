-- Endpoints: what they filter, what is sent with it, and secrets that can't be read in this file. Times are milliseconds
-- since 1970, UTC. A secret is kept sealed (nonce and ciphertext) with the id of the key that sealed it; `secret` holds the
-- text only of rows from before this migration, until the next start seals them.

create table sealed_endpoint_secrets (
    id           text primary key check (substr(id, 1, 4) = 'sec_'),
    endpoint_id  text not null references endpoints (id) on delete cascade,
    scheme       text not null check (scheme in ('v1', 'v1a')),
    secret       text,
    key_id       text,
    sealed       blob,
    created_at   integer not null,
    expires_at   integer,
    check ((secret is null) = (sealed is not null)),
    check ((key_id is null) = (sealed is null))
) strict;
insert into sealed_endpoint_secrets (id, endpoint_id, scheme, secret, created_at, expires_at)
    select id, endpoint_id, 'v1', secret, created_at, expires_at from endpoint_secrets;
drop table endpoint_secrets;
alter table sealed_endpoint_secrets rename to endpoint_secrets;
create index endpoint_secrets_by_endpoint on endpoint_secrets (endpoint_id);
-- All but the newest secret of an endpoint run out.
create unique index endpoint_secrets_current on endpoint_secrets (endpoint_id) where expires_at is null;
create index endpoint_secrets_by_key on endpoint_secrets (key_id, id);

-- A paused endpoint is an enabled one whose deliveries wait; a disabled one gets none.
alter table endpoints add column filter text check (length(filter) between 1 and 1024);
alter table endpoints add column headers text not null default '{}' check (json_valid(headers));
alter table endpoints add column header_prefix text check (length(header_prefix) between 1 and 40);
alter table endpoints add column metadata text not null default '{}' check (json_valid(metadata));
alter table endpoints add column paused_at integer;
alter table endpoints add column pause_reason text check ((pause_reason is null) = (paused_at is null));

-- Types of events that publishers have declared; an event of such a type must fit its schema.
create table event_types (
    name         text primary key check (length(name) between 1 and 128),
    description  text not null check (length(description) between 1 and 2000),
    schema       text check (json_valid(schema)),
    example      text check (json_valid(example)),
    created_at   integer not null,
    updated_at   integer not null
) strict;

-- Sending again: what was asked, how far it is. A run takes deliveries (or, for what was missed, messages) in the order of
-- their ids, so that `cursor` says where it goes on.
create table recoveries (
    id           text primary key check (substr(id, 1, 4) = 'rcv_'),
    tenant       text not null,
    endpoint_id  text not null,
    what         text not null check (what in ('one', 'failed', 'missed', 'all', 'backlog')),
    delivery_id  text check ((delivery_id is not null) = (what = 'one')),
    since        integer not null,
    until        integer not null,
    state        text not null check (state in ('running', 'completed', 'cancelled', 'failed')),
    reason       text,
    cursor       text not null,
    looked_at    integer not null check (looked_at >= 0),
    sent_again   integer not null check (sent_again >= 0),
    created_at   integer not null,
    updated_at   integer not null
) strict;
create index recoveries_by_endpoint on recoveries (endpoint_id, id);
create index recoveries_running on recoveries (endpoint_id) where state = 'running';
-- Which run opened a delivery again last: a run that died in the middle finds its own, and opens none twice.
alter table deliveries add column recovery_id text;
-- The number of its job, when that is not its own: a job's number is used once. Written as `dlv_…` too.
alter table deliveries add column job_id text check (substr(job_id, 1, 4) = 'dlv_');

-- What is to be told of endpoints: written with what happened, and taken away when its event has its job.
create table endpoint_notices (
    seq          integer primary key autoincrement,
    tenant       text not null,
    event_type   text not null,
    payload      text not null check (json_valid(payload)),
    created_at   integer not null
) strict;
