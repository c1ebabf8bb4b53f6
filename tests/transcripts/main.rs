//! Replays what a real CouchDB answered: against the embedded store, or any server named by `COUCHDB_URL`.
//!
//! `COUCHDB_URL=http://admin:password@127.0.0.1:5984 cargo test --test transcripts` replays over a socket; the databases
//! `tr_*` there are deleted. Differences that are known stand in a file beside this one, by reason; any other fails, and
//! so does a listed one that is gone from the embedded store.

#![allow(clippy::unwrap_used)]

mod compare;
mod known;
mod record;
mod target;

use std::fmt::Write;

use chesterfield::upstream::embedded::Embedded;

use self::{
    compare::Comparison,
    known::{Known, Verdict},
    record::{Exchange, TOPICS},
    target::Target,
};

#[derive(Default)]
struct Tally {
    /// Whether a listed difference that is gone is a failure. Of a server that is not ours, some come and go.
    strict: bool,
    equal: usize,
    different: usize,
    skipped: usize,
    complaints: String,
}

#[tokio::test]
async fn memory() {
    if !record::are_there() {
        return;
    }
    let known = Known::read("embedded");
    let mut tally = Tally {
        strict: true,
        ..Tally::default()
    };
    for topic in TOPICS {
        replay(topic, &mut Target::embedded(Embedded::memory()), &known, &mut tally).await;
    }
    tally.settle();
}

#[tokio::test]
async fn redb() {
    if !record::are_there() {
        return;
    }
    let known = Known::read("embedded");
    let mut tally = Tally {
        strict: true,
        ..Tally::default()
    };
    for topic in TOPICS {
        let dir = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(dir.path()).await.unwrap();
        replay(topic, &mut Target::embedded(embedded), &known, &mut tally).await;
    }
    tally.settle();
}

#[tokio::test]
async fn server() {
    let Ok(url) = std::env::var("COUCHDB_URL") else { return };
    if !record::are_there() {
        return;
    }
    let known = Known::read("couchdb");
    let mut target = Target::server(&url);
    let mut tally = Tally::default();
    for topic in TOPICS {
        target.clean().await;
        replay(topic, &mut target, &known, &mut tally).await;
    }
    target.clean().await;
    tally.settle();
}

async fn replay(topic: &str, target: &mut Target, known: &Known, tally: &mut Tally) {
    let only = std::env::var("TRANSCRIPTS_ONLY").unwrap_or_default();
    if !only.is_empty() && only != topic {
        return;
    }
    let mut comparison = Comparison::default();
    for mut exchange in record::read(topic) {
        let verdict = known.verdict(topic, exchange.n);
        if verdict == Verdict::Partly {
            exchange.leave_out_refused();
        }
        if verdict == Verdict::Skipped {
            tally.skipped += 1;
            continue;
        }
        let request = comparison.adapt(&exchange);
        let answer = target.send(&exchange, &request).await;
        let differences = comparison.compare(&exchange, answer);
        tally.count(topic, &exchange, verdict, &differences);
    }
}

impl Tally {
    fn count(&mut self, topic: &str, exchange: &Exchange, verdict: Verdict, differences: &[String]) {
        if differences.is_empty() {
            self.equal += 1
        } else {
            self.different += 1
        };
        let complaint = match (verdict, differences.is_empty()) {
            (Verdict::Equal | Verdict::Partly, false) => differences.join("\n    "),
            (Verdict::Differs, true) if self.strict => "is listed as different, but is not".to_owned(),
            _ => return,
        };
        let Exchange { n, title, .. } = exchange;
        let request = &exchange.request;
        writeln!(
            self.complaints,
            "{topic} {n} ({title}) {} {}\n    {complaint}",
            request.method, request.path
        )
        .unwrap();
    }

    fn settle(self) {
        let Self {
            equal,
            different,
            skipped,
            complaints,
            ..
        } = self;
        assert!(
            complaints.is_empty(),
            "{complaints}\n{equal} equal, {different} different, {skipped} skipped"
        );
    }
}
