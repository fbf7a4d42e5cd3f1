-- Links to the consumers' page: who may come in, until when. The link's text is signed, so it stands nowhere here; a row is
-- what a link is revoked by. Times are milliseconds since 1970, UTC.

create table portal_links (
    id              text primary key check (substr(id, 1, 4) = 'lnk_'),
    tenant          text not null check (length(tenant) between 1 and 64),
    read_only       integer not null check (read_only = 0 or read_only = 1),
    made_by         text not null,
    created_at      integer not null,
    expires_at      integer not null,
    opened          integer not null default 0 check (opened >= 0),
    last_opened_at  integer,
    revoked_at      integer,
    check (expires_at > created_at),
    check ((opened = 0) = (last_opened_at is null))
) strict;
create index portal_links_by_tenant on portal_links (tenant, id);
create index portal_links_by_end on portal_links (expires_at);
