//! Compares our books with somebody else's, object by object. Pure; the reading and keeping is the handlers'.
//!
//! [`Ledger`] is fed each object of the other side beside ours, then ours that were not among them, and ends as a
//! tally and the list of differences. What changed on our side while the run was going on is set aside: it would be
//! compared with what the other side was before.

use std::collections::HashSet;

use tidemill::clock::Timestamp;

use crate::clients::stripe::{Invoice, Subscription};
use crate::store::billing::{InvoiceRow, SubscriptionRow};
use crate::store::reconciliation::{Difference, DifferenceKind, Tally};

/// No more differences are kept of one run; all are counted.
pub const MAX_DIFFERENCES: usize = 10_000;

/// A run's findings while it is going on.
#[derive(Debug)]
pub struct Ledger {
    began: Timestamp,
    seen: HashSet<String>,
    tally: Tally,
    differences: Vec<Difference>,
}

/// One field of an object, ours and theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    name: &'static str,
    ours: Option<String>,
    theirs: Option<String>,
    minor: Option<(Option<i64>, Option<i64>)>,
}

/// An object that both sides may have.
pub trait Compared {
    /// How we keep it.
    type Ours;
    /// `subscription`, `invoice`
    const OBJECT: &'static str;
    /// The field that tells its worth, when one side has nothing to compare with.
    const WORTH: &'static str;

    /// Their id for it.
    fn id(&self) -> &str;
    /// Its worth in minor units.
    fn worth(&self) -> Option<i64>;
    /// Of what.
    fn currency(&self) -> Option<&str>;
    /// Our id for it, worth, currency, and when it last changed here.
    fn ours(ours: &Self::Ours) -> (&str, Option<i64>, Option<&str>, Timestamp);
    /// Every field that is compared.
    fn fields(&self, ours: &Self::Ours) -> Vec<Field>;
}

impl Ledger {
    /// Nothing found yet; what changes here from `began` on is set aside.
    pub fn new(began: Timestamp) -> Self {
        Self { began, seen: HashSet::new(), tally: Tally::default(), differences: Vec::new() }
    }

    /// One of theirs, and ours of the same id if we have it.
    pub fn theirs<T: Compared>(&mut self, theirs: &T, ours: Option<&T::Ours>) {
        if !self.seen.insert(format!("{}:{}", T::OBJECT, theirs.id())) {
            // Paging through a list that grows can show an object twice.
            return;
        }
        self.tally.checked += 1;
        let Some(ours) = ours else {
            self.tally.missing += 1;
            let (worth, currency) = (theirs.worth(), theirs.currency());
            return self.one_sided::<T>(theirs.id(), DifferenceKind::Missing, (None, worth), currency);
        };
        if T::ours(ours).3 >= self.began {
            self.tally.in_flight += 1;
            return;
        }
        let differing: Vec<Field> = theirs.fields(ours).into_iter().filter(|f| f.ours != f.theirs).collect();
        if differing.is_empty() {
            self.tally.matched += 1;
            return;
        }
        self.tally.differing += 1;
        for field in differing {
            self.differ::<T>(theirs, field);
        }
    }

    /// One of ours; extra when theirs did not have it.
    pub fn ours<T: Compared>(&mut self, ours: &T::Ours) {
        let (id, worth, currency, updated_at) = T::ours(ours);
        if self.seen.contains(&format!("{}:{id}", T::OBJECT)) {
            return;
        }
        self.tally.checked += 1;
        if updated_at >= self.began {
            self.tally.in_flight += 1;
            return;
        }
        self.tally.extra += 1;
        self.one_sided::<T>(id, DifferenceKind::Extra, (worth, None), currency);
    }

    /// The findings.
    pub fn close(self) -> (Tally, Vec<Difference>) {
        (self.tally, self.differences)
    }

    fn one_sided<T: Compared>(
        &mut self,
        id: &str,
        kind: DifferenceKind,
        (ours, theirs): (Option<i64>, Option<i64>),
        currency: Option<&str>,
    ) {
        self.push(Difference {
            object: T::OBJECT,
            object_id: id.to_owned(),
            kind,
            field: T::WORTH,
            ours: ours.map(|n| n.to_string()),
            theirs: theirs.map(|n| n.to_string()),
            ours_minor: ours,
            theirs_minor: theirs,
            currency: currency.map(str::to_owned),
        });
    }

    fn differ<T: Compared>(&mut self, theirs: &T, field: Field) {
        let (ours_minor, theirs_minor) = field.minor.unwrap_or_default();
        self.push(Difference {
            object: T::OBJECT,
            object_id: theirs.id().to_owned(),
            kind: DifferenceKind::Differs,
            field: field.name,
            ours: field.ours,
            theirs: field.theirs,
            ours_minor,
            theirs_minor,
            currency: field.minor.and(theirs.currency().map(str::to_owned)),
        });
    }

    fn push(&mut self, difference: Difference) {
        if self.differences.len() < MAX_DIFFERENCES {
            self.differences.push(difference);
        }
    }
}

fn text(name: &'static str, ours: Option<&str>, theirs: Option<&str>) -> Field {
    Field { name, ours: ours.map(str::to_owned), theirs: theirs.map(str::to_owned), minor: None }
}

fn amount(name: &'static str, ours: Option<i64>, theirs: Option<i64>) -> Field {
    let text = |n: Option<i64>| n.map(|n| n.to_string());
    Field { name, ours: text(ours), theirs: text(theirs), minor: Some((ours, theirs)) }
}

fn time(name: &'static str, ours: Option<i64>, theirs: Option<Timestamp>) -> Field {
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    Field { name, ours: text(ours.map(Timestamp::from_ms)), theirs: text(theirs), minor: None }
}

impl Compared for Subscription {
    type Ours = SubscriptionRow;
    const OBJECT: &'static str = "subscription";
    const WORTH: &'static str = "amount";

    fn id(&self) -> &str {
        &self.id
    }

    fn worth(&self) -> Option<i64> {
        self.amount_minor()
    }

    fn currency(&self) -> Option<&str> {
        self.currency()
    }

    fn ours(ours: &SubscriptionRow) -> (&str, Option<i64>, Option<&str>, Timestamp) {
        (&ours.id, ours.amount_minor, ours.currency.as_deref(), Timestamp::from_ms(ours.updated_at))
    }

    fn fields(&self, ours: &SubscriptionRow) -> Vec<Field> {
        let word = |yes: bool| if yes { "true" } else { "false" };
        vec![
            text("status", Some(&ours.status), Some(&self.status)),
            text("customer", Some(&ours.customer), Some(&self.customer)),
            text("currency", ours.currency.as_deref(), self.currency()),
            amount("amount", ours.amount_minor, self.amount_minor()),
            time("period_end", ours.period_end, self.period_end()),
            text("cancel_at_period_end", Some(word(ours.cancel_at_period_end)), Some(word(self.cancel_at_period_end))),
        ]
    }
}

impl Compared for Invoice {
    type Ours = InvoiceRow;
    const OBJECT: &'static str = "invoice";
    const WORTH: &'static str = "amount_due";

    fn id(&self) -> &str {
        &self.id
    }

    fn worth(&self) -> Option<i64> {
        Some(self.amount_due)
    }

    fn currency(&self) -> Option<&str> {
        Some(&self.currency)
    }

    fn ours(ours: &InvoiceRow) -> (&str, Option<i64>, Option<&str>, Timestamp) {
        (&ours.id, Some(ours.amount_due), Some(&ours.currency), Timestamp::from_ms(ours.updated_at))
    }

    fn fields(&self, ours: &InvoiceRow) -> Vec<Field> {
        vec![
            text("status", ours.status.as_deref(), self.status.as_deref()),
            text("currency", Some(&ours.currency), Some(&self.currency)),
            amount("amount_due", Some(ours.amount_due), Some(self.amount_due)),
            amount("amount_paid", Some(ours.amount_paid), Some(self.amount_paid)),
            amount("amount_remaining", Some(ours.amount_remaining), Some(self.amount_remaining)),
        ]
    }
}
