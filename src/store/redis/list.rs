//! `list`: pages of jobs, each state in the order of the index it has anyway.
//!
//! A page is merged from the queues it covers. Each call looks at a thousand entries at most, each page at a bounded number of
//! them; a filter that matches little may therefore give a short page that still has a `next`.

mod sources;

use super::RedisStore;
use super::inspect::record;
use super::parts::Parts;
use super::{script, wire};
use crate::job::{JobRecord, JobState};
use crate::store::query::Place;
use crate::store::{Cursor, ListQuery, Page, StoreError};

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 200;
/// So many whole jobs come in one answer: each may be large.
const RECORDS_MAX: usize = 50;

/// What a page is made of: places that fit, in order, and how far the list is known.
#[derive(Debug, Default)]
struct Found {
    places: Vec<Place>,
    /// Beyond this nothing was looked at; `None`: it was all.
    known_until: Option<Place>,
}

impl RedisStore {
    pub(super) async fn page(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let limit = match query.limit {
            0 => LIMIT_DEFAULT,
            n => n.min(LIMIT_MAX),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let found = self.find(query, limit).await?;
        let rest = found.places.len() > limit;
        let places = &found.places[..found.places.len().min(limit)];
        let jobs = self.records(places, query.state).await?;
        // Where the page is full, the next begins after its last job; otherwise where looking has stopped.
        let after = if rest { places.last().copied() } else { found.known_until };
        Ok(Page { jobs, next: after.map(|after| Cursor { after }) })
    }

    async fn find(&self, query: &ListQuery, limit: usize) -> Result<Found, StoreError> {
        let queues = self.queues_of(query).await?;
        match query.state {
            None => self.newest(query, limit).await,
            Some(JobState::Running) => self.running(query, limit).await,
            Some(state) => self.merged(query, state, &queues, limit).await,
        }
    }

    /// The jobs at these places. One that was changed or taken away between the two looks is left out.
    async fn records(&self, places: &[Place], state: Option<JobState>) -> Result<Vec<JobRecord>, StoreError> {
        let step = "read listed jobs";
        let mut jobs = Vec::with_capacity(places.len());
        for part in places.chunks(RECORDS_MAX) {
            let mut cmd = self.link.call(&script::RECORDS);
            for place in part {
                cmd.arg(&wire::member(place.seq));
            }
            let mut parts = Parts::of(step, self.ask(step, &script::RECORDS, &cmd).await?)?;
            while !parts.is_over() {
                let job = record(&mut parts.parts()?)?;
                if state.is_none_or(|state| job.state == state) {
                    jobs.push(job);
                }
            }
        }
        Ok(jobs)
    }
}
