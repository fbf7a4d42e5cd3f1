//! The history turned by job: what was asked, and each claim of it with all that came of it.

use std::collections::{BTreeMap, BTreeSet};

use tidemill::job::{Incarnation, JobId, JobState};

use crate::event::{Asked, Claim, VerdictKind, What};
use crate::history::History;

/// Node and life.
pub(super) type Who = (String, u32);

/// One claim of a job.
#[derive(Debug, Default)]
pub(super) struct Tenure {
    pub(super) holder: Option<Incarnation>,
    pub(super) who: Option<Who>,
    pub(super) claim: Option<(u64, Claim)>,
    /// When its handler began; more than one entry is a fault of its own.
    pub(super) enters: Vec<u64>,
    pub(super) exit: Option<(u64, String)>,
    pub(super) ends: Vec<Ending>,
    /// When a note was accepted.
    pub(super) notes: Vec<u64>,
}

/// One settle of a tenure.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) asked: u64,
    pub(super) verdict: VerdictKind,
    pub(super) delay_ms: u64,
    pub(super) answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted(JobState),
    Refused,
    Unsure,
}

impl Tenure {
    /// The settle that the store has accepted.
    pub(super) fn accepted(&self) -> Option<(&Ending, JobState)> {
        self.ends.iter().find_map(|end| match end.answer {
            Answer::Accepted(state) => Some((end, state)),
            Answer::Refused | Answer::Unsure => None,
        })
    }

    /// The store has accepted an end that nothing comes after.
    pub(super) fn finished(&self) -> Option<JobState> {
        self.accepted().map(|(_, state)| state).filter(|state| super::is_final(*state))
    }

    /// Some settle may have been done though nobody was told.
    pub(super) fn maybe_settled(&self) -> bool {
        self.ends.iter().any(|end| end.answer == Answer::Unsure)
    }
}

/// What a producer has asked for.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) asked: Asked,
    /// The first time.
    pub(super) at: u64,
    /// When it was first acknowledged.
    pub(super) acked: Option<u64>,
    pub(super) producer: String,
}

/// A life of an incarnation.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// The store's time of each beat that it has taken.
    pub(super) beats: Vec<i64>,
    pub(super) signed_off: Option<u64>,
}

/// The whole run by job.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) orders: BTreeMap<JobId, Order>,
    pub(super) tenures: BTreeMap<JobId, BTreeMap<u64, Tenure>>,
    pub(super) holders: BTreeMap<Incarnation, Holding>,
    /// When each process ended.
    pub(super) ends: BTreeMap<Who, (u64, String)>,
    /// From when to when something else than single processes was disturbed.
    pub(super) disturbed: Vec<(u64, u64)>,
    /// From when to when each worker lived.
    pub(super) lives: Vec<(u64, u64)>,
    /// Jobs that the driver has taken away by hand.
    pub(super) deleted: BTreeSet<JobId>,
    /// From when to when what was acknowledged may be lost, as the store's mode says.
    lossy: Vec<(u64, u64)>,
    pub(super) unsure_calls: u64,
    pub(super) refused_calls: u64,
    pub(super) stale_notes: u64,
}

impl Index {
    pub(super) fn new(history: &History) -> Self {
        let mut index =
            Self { ends: history.ends(), disturbed: disturbed(history), lossy: lossy(history), ..Self::default() };
        index.deleted.extend(history.nemesis.iter().filter_map(|event| match event.what {
            What::Deleted { job } => Some(job),
            _ => None,
        }));
        for (who, events) in history.logs.iter().filter(|(who, _)| who.0.starts_with('w')) {
            let end = index.ends.get(who).map_or(u64::MAX, |(ns, _)| *ns);
            index.lives.extend(events.first().map(|born| (born.ns, end)));
        }
        for (who, events) in &history.logs {
            // Calls are numbered by process.
            let mut asked = BTreeMap::new();
            let (mut settling, mut answered) = (BTreeMap::new(), BTreeSet::new());
            for event in events {
                let ns = event.ns;
                match &event.what {
                    What::Asked { call, jobs } => {
                        asked.insert(*call, jobs.as_slice());
                        for job in jobs {
                            let order = Order { asked: job.clone(), at: ns, acked: None, producer: who.0.clone() };
                            let order = index.orders.entry(job.job).or_insert(order);
                            order.at = order.at.min(ns);
                        }
                    }
                    What::Acked { call } => {
                        answered.insert(*call);
                        for job in asked.get(call).copied().unwrap_or_default() {
                            if let Some(order) = index.orders.get_mut(&job.job) {
                                order.acked = Some(order.acked.map_or(ns, |first| first.min(ns)));
                            }
                        }
                    }
                    What::Unsure { call, .. } => {
                        answered.insert(*call);
                        index.unsure_calls += 1;
                    }
                    What::Refused { call, .. } => {
                        answered.insert(*call);
                        index.refused_calls += 1;
                    }
                    What::Claimed { holder, jobs } => {
                        for claim in jobs {
                            let tenure = index.tenure(claim.job, claim.epoch);
                            tenure.holder = Some(*holder);
                            tenure.who = Some(who.clone());
                            tenure.claim = Some((ns, claim.clone()));
                        }
                    }
                    What::Enter { job, epoch, .. } => {
                        let tenure = index.tenure(*job, *epoch);
                        tenure.enters.push(ns);
                        tenure.who = Some(who.clone());
                    }
                    What::Exit { job, epoch, how } => index.tenure(*job, *epoch).exit = Some((ns, how.clone())),
                    What::Settling { call, jobs } => {
                        for end in jobs {
                            let (verdict, delay_ms, answer) = (end.verdict, end.delay_ms, Answer::Unsure);
                            let ending = Ending { asked: ns, verdict, delay_ms, answer };
                            index.tenure(end.job, end.epoch).ends.push(ending);
                        }
                        settling.insert(*call, jobs.as_slice());
                    }
                    What::Settled { call, answers } => {
                        for (end, answer) in settling.remove(call).unwrap_or_default().iter().zip(answers) {
                            if let Some(last) = index.tenure(end.job, end.epoch).ends.last_mut() {
                                last.answer = answer.map_or(Answer::Refused, Answer::Accepted);
                            }
                        }
                    }
                    What::Noted { job, epoch, accepted: true } => index.tenure(*job, *epoch).notes.push(ns),
                    What::Noted { accepted: false, .. } => index.stale_notes += 1,
                    What::Beat { holder, store_ms } => {
                        index.holders.entry(*holder).or_default().beats.push(*store_ms);
                    }
                    What::SigningOff { holder } => {
                        index.holders.entry(*holder).or_default().signed_off = Some(ns);
                    }
                    _ => {}
                }
            }
            // A call that a death cut off has no second line.
            let unanswered = asked.keys().filter(|call| !answered.contains(call)).count();
            index.unsure_calls += u64::try_from(unanswered).unwrap_or(0);
        }
        index
    }

    fn tenure(&mut self, job: JobId, epoch: u64) -> &mut Tenure {
        self.tenures.entry(job).or_default().entry(epoch).or_default()
    }

    /// What was written at this moment may be lost, as the store's mode says.
    pub(super) fn may_be_lost(&self, ns: u64) -> bool {
        self.lossy.iter().any(|(from, to)| (*from..*to).contains(&ns))
    }

    /// The store may have forgotten something of this job, so that it can't be held to its word.
    pub(super) fn may_be_forgotten(&self, job: &JobId) -> bool {
        let tenures = self.tenures.get(job).into_iter().flatten().map(|(_, tenure)| tenure);
        !self.lossy.is_empty()
            && tenures
                .flat_map(|tenure| tenure.ends.iter().map(|e| e.asked).chain(tenure.claim.iter().map(|(ns, _)| *ns)))
                .any(|ns| self.may_be_lost(ns))
    }

    /// When the effect of a tenure was over: its handler's last line, or the death of its process.
    pub(super) fn over(&self, tenure: &Tenure) -> Option<u64> {
        let died = tenure.who.as_ref().and_then(|who| self.ends.get(who)).map(|(ns, _)| *ns);
        tenure.exit.as_ref().map(|(ns, _)| *ns).into_iter().chain(died).min()
    }

    /// The death of its process has cut the tenure off: when that was.
    pub(super) fn cut_off(&self, tenure: &Tenure) -> Option<u64> {
        let (died, cause) = self.ends.get(tenure.who.as_ref()?)?;
        (tenure.accepted().is_none() && cause != "exit 0").then_some(*died)
    }
}

/// The times of the driver's wider faults, and of stopped processes: one that is stopped may hold the store's own lock.
fn disturbed(history: &History) -> Vec<(u64, u64)> {
    let mut open: BTreeMap<String, u64> = BTreeMap::new();
    let mut windows = Vec::new();
    for event in &history.nemesis {
        match &event.what {
            What::Fault { name } => drop(open.insert(name.clone(), event.ns)),
            What::Stopped { node, life } => drop(open.insert(format!("{node}.{life}"), event.ns)),
            What::Healed { name } => windows.extend(open.remove(name).map(|from| (from, event.ns))),
            What::Continued { node, life } => {
                windows.extend(open.remove(&format!("{node}.{life}")).map(|from| (from, event.ns)));
            }
            _ => {}
        }
    }
    windows.extend(open.into_values().map(|from| (from, u64::MAX)));
    windows
}

/// The driver's faults that a mode's own words leave open to loss, each with the time before it.
fn lossy(history: &History) -> Vec<(u64, u64)> {
    let before = history.rules.lossy_window_ms * 1_000_000;
    let mut windows: Vec<(u64, u64)> = Vec::new();
    for event in &history.nemesis {
        match &event.what {
            What::Fault { name } if name.starts_with("lossy") => {
                windows.push((event.ns.saturating_sub(before), u64::MAX));
            }
            What::Healed { name } if name.starts_with("lossy") => {
                if let Some(last) = windows.last_mut() {
                    last.1 = event.ns;
                }
            }
            _ => {}
        }
    }
    windows
}
