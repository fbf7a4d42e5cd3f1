-- What GPUs cost, by model and time, and how fresh each source is. Times are milliseconds since 1970, UTC.

create table market_sources (
    source         text primary key,
    etag           text,
    observed_at    integer,
    confirmed_at   integer,
    failing_since  integer,
    failures       integer not null default 0 check (failures >= 0),
    last_error     text,
    check ((failing_since is null) = (failures = 0))
) strict;

-- Prices are US dollars per GPU-hour and utilisation a share of one, as decimal text: `0.39`.
create table market_data (
    platform     text not null check (length(platform) between 1 and 64),
    region       text not null check (length(region) between 1 and 64),
    gpu_model    text not null check (length(gpu_model) between 1 and 100),
    observed_at  integer not null,
    rented       integer not null check (rented >= 0),
    available    integer not null check (available >= 0),
    total        integer not null check (total >= 0),
    utilization  text,
    price        text,
    price_p10    text,
    price_p90    text,
    primary key (platform, region, gpu_model, observed_at),
    check (total > 0 or (price is null and utilization is null))
) strict;
create index market_data_by_time on market_data (observed_at);
