-- Bank connections, their accounts and bookings. Amounts are minor units of `currency`, which has `places` decimals.

create table plaid_items (
    item_id        text primary key,
    tenant         text not null check (length(tenant) between 1 and 255),
    institution    text,
    status         text not null check (status in
                       ('active', 'login_required', 'locked', 'access_not_granted', 'revoked', 'no_accounts', 'broken')),
    status_reason  text,
    status_at      integer not null,
    token_key_id   text not null,
    token_sealed   blob not null check (length(token_sealed) > 40),
    cursor         text check (length(cursor) between 1 and 256),
    balances_at    integer,
    synced_at      integer,
    created_at     integer not null
) strict;

create table bank_accounts (
    account_id       text primary key,
    item_id          text not null references plaid_items (item_id) on delete cascade,
    name             text not null,
    mask             text,
    kind             text not null,
    subtype          text,
    currency         text not null,
    places           integer not null check (places between 0 and 8),
    available_minor  integer,
    current_minor    integer,
    limit_minor      integer,
    observed_at      integer not null
) strict;
create index bank_accounts_by_item on bank_accounts (item_id);

-- A positive amount is money out, as Plaid has it. A removed booking stays, marked.
create table bank_transactions (
    transaction_id          text primary key,
    item_id                 text not null references plaid_items (item_id) on delete cascade,
    account_id              text not null,
    amount_minor            integer not null,
    currency                text not null,
    places                  integer not null check (places between 0 and 8),
    date                    text not null check (length(date) = 10),
    authorized_date         text check (length(authorized_date) = 10),
    name                    text not null,
    merchant                text,
    category                text,
    pending                 integer not null check (pending in (0, 1)),
    pending_transaction_id  text,
    updated_at              integer not null,
    removed_at              integer
) strict;
create index bank_transactions_by_item_and_date on bank_transactions (item_id, date);
