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
