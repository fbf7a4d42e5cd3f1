-- What operators ask about a webhook: which secret vouched for it, what else it brought, which job took it and on which queue, how often
-- somebody had it processed again.
alter table webhook_events add column verified_with text;
alter table webhook_events add column headers text not null default '{}' check (json_valid(headers));
alter table webhook_events add column queue text;
alter table webhook_events add column handle_as text;
alter table webhook_events add column job text;
alter table webhook_events add column redeliveries integer not null default 0 check (redeliveries >= 0);

drop index webhook_events_by_time;
create index webhook_events_by_time on webhook_events (received_at, source, event_id);
create index webhook_events_by_source on webhook_events (source, received_at, event_id);

-- How often an event came again. Apart from the events, so that counting rewrites no body, and because a repeat may be
-- counted before the job has recorded the event.
create table webhook_repeats (
    source     text not null,
    event_id   text not null,
    same       integer not null check (same >= 0),
    differing  integer not null check (differing >= 0),
    last_at    integer not null,
    primary key (source, event_id)
) strict;
create index webhook_repeats_by_age on webhook_repeats (last_at);
