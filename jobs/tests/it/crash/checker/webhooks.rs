//! Every acknowledged event has come all the way, once: recorded, mirrored, told to every endpoint.

use std::collections::{BTreeMap, BTreeSet};

use super::super::history::{Delivery, History};
use super::{Fault, Report};

pub(super) fn check(history: &History, report: &mut Report) {
    let dump = &history.dump;
    let sent: BTreeSet<&str> = history.sent.iter().map(|sent| sent.event.as_str()).collect();
    let events: BTreeMap<&str, &str> =
        dump.events.iter().map(|(id, outcome)| (id.as_str(), outcome.as_str())).collect();
    let mut messages: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (message, event) in &dump.messages {
        if let Some(event) = event.strip_prefix("stripe:") {
            messages.entry(event).or_default().push(message);
        }
    }
    let mut deliveries: BTreeMap<&str, Vec<&Delivery>> = BTreeMap::new();
    for delivery in &dump.deliveries {
        deliveries.entry(&delivery.message).or_default().push(delivery);
    }
    let accepted: BTreeSet<&str> = history.received.iter().map(|post| post.event.as_str()).collect();
    let jobs = jobs_by_event(history);

    for one in history.sent.iter().filter(|one| one.acks > 0) {
        let event = one.event.as_str();
        let mut lost = |missing| report.faults.push(Fault::Lost { event: event.into(), missing });
        if !matches!(events.get(event), Some(&("applied" | "superseded"))) {
            lost("a row in webhook_events that has been applied");
        }
        if !dump.mirror.contains_key(&one.object) {
            lost("its effect on the mirror");
        }
        if !accepted.contains(event) {
            lost("the receiver's sight of it");
        }
        if !messages.contains_key(event) {
            lost("a message");
        }
        let told = messages.get(event).and_then(|of| of.first()).and_then(|message| deliveries.get(message));
        for endpoint in &dump.endpoints {
            let arrived = told.is_some_and(|of| of.iter().any(|d| d.endpoint == *endpoint && d.state == "succeeded"));
            if !arrived {
                lost("a delivery that has succeeded");
            }
        }
        for kind in ["webhook.received", "stripe.event", "webhook.fanout"] {
            if !jobs.contains_key(&(kind, event)) {
                lost("one of its jobs");
            }
        }
    }

    let mut twice = |event: &str, what, times| {
        if times > 1 {
            report.faults.push(Fault::Twice { event: event.into(), what, times });
        }
    };
    for (event, of) in &messages {
        twice(event, "messages", of.len());
        for message in of {
            for endpoint in &dump.endpoints {
                let n = deliveries.get(message).map_or(0, |of| of.iter().filter(|d| d.endpoint == *endpoint).count());
                twice(event, "deliveries to an endpoint", n);
            }
        }
    }
    for ((kind, event), times) in &jobs {
        twice(event, kind, *times);
    }

    let there = events.keys().chain(messages.keys()).chain(accepted.iter()).chain(jobs.keys().map(|(_, event)| event));
    let invented: BTreeSet<&str> = there.copied().filter(|event| !sent.contains(event)).collect();
    report.faults.extend(invented.into_iter().map(|what| Fault::Invented { what: what.into() }));
}

/// How many jobs of each kind there are for each event.
fn jobs_by_event(history: &History) -> BTreeMap<(&'static str, &str), usize> {
    let mut jobs = BTreeMap::new();
    for job in &history.dump.jobs {
        let key = match job.kind.as_str() {
            "webhook.received" => ("webhook.received", job.about.as_str()),
            "stripe.event" => ("stripe.event", job.about.as_str()),
            "webhook.fanout" => match job.about.strip_prefix("stripe:") {
                Some(event) => ("webhook.fanout", event),
                None => continue,
            },
            _ => continue,
        };
        *jobs.entry(key).or_insert(0) += 1;
    }
    jobs
}
