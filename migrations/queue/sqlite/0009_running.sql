-- Each claim and each settlement touches the index of the running jobs: it holds what a list needs and what keeps it short. Who
-- looks for a holder walks through it, for there are as many running jobs as all pools have places. Those that a beat asks for at
-- every turn, the ones to be cancelled, have an index of their own, empty nearly always.

drop index jobs_to_rescue;
create index jobs_to_rescue on jobs (queue) where state = 'running';
create index jobs_to_cancel on jobs (holder) where cancel_requested = 1;
