-- What webhooks brought, and the mirror of Stripe that they keep. Amounts are minor units of `currency`.

create table webhook_events (
    source        text not null,
    event_id      text not null,
    event_type    text not null,
    received_at   integer not null,
    body          blob not null,
    outcome       text not null default 'received' check (outcome in
                      ('received', 'applied', 'superseded', 'ignored', 'unreadable')),
    finished_at   integer,
    primary key (source, event_id),
    check ((outcome = 'received') = (finished_at is null))
) strict;
create index webhook_events_by_time on webhook_events (received_at);

-- `event_at, event_rank, event_id` name the newest event that has been applied; an older one changes nothing.
create table stripe_subscriptions (
    id                    text primary key,
    customer              text not null,
    status                text not null check (length(status) > 0),
    currency              text,
    amount_minor          integer,
    price                 text,
    period_start          integer,
    period_end            integer,
    cancel_at_period_end  integer not null check (cancel_at_period_end in (0, 1)),
    latest_invoice        text,
    created_at            integer,
    event_at              integer not null,
    event_rank            integer not null,
    event_id              text not null,
    updated_at            integer not null
) strict;

create table stripe_invoices (
    id                text primary key,
    customer          text,
    subscription      text,
    status            text check (length(status) > 0),
    currency          text not null check (length(currency) = 3),
    amount_due        integer not null,
    amount_paid       integer not null,
    amount_remaining  integer not null,
    attempt_count     integer not null check (attempt_count >= 0),
    next_attempt_at   integer,
    billing_reason    text,
    created_at        integer not null,
    event_at          integer not null,
    event_rank        integer not null,
    event_id          text not null,
    updated_at        integer not null
) strict;
create index stripe_invoices_by_creation on stripe_invoices (created_at, id);
