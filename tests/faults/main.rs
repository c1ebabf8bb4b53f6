//! Whatever breaks, and wherever: once the network has healed, all that was acknowledged is in every version it must reach.
//!
//! Worlds are made from seeds. `FAULTS_SEED=17 cargo test --test faults worlds -- --nocapture` runs world 17 alone, `FAULTS_WORLDS=2000` so many
//! of them from that seed on, or from 0: a night's run. A failure tells its seed.
//!
//! A seed also chooses the app: of five that follow each other those that split a document, merge fields, share documents, have parts that need not be
//! there, and have attachments.
//!
//! A seed determines who does what and when, every revision that a device writes, and what becomes of the n-th request of a kind that a proxy
//! makes. Each world has one thread. What it does not determine is which of several tasks that wait for sockets and timers goes first, so a
//! failure that hangs on a race may take several runs of its seed to come back.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod app;
mod apps;
mod check;
mod cuts;
mod device;
mod kills;
mod line;
#[path = "../parked/lot.rs"]
#[allow(dead_code, reason = "every test file uses its own part")]
mod lot;
#[path = "../support/past.rs"]
mod past;
mod person;
#[path = "../support/stage.rs"]
mod stage;
mod stepped;
mod tree;
mod upstream;
mod world;
mod writing;

use std::{
    env, fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use kills::At;
use tokio::runtime;
use world::{Counts, World, add};

/// Worlds of a run of the whole suite.
const WORLDS: u64 = 20;

/// Worlds at once, each on a thread of its own.
const THREADS: usize = 2;

/// How much more memory may be taken after a quarter of the worlds than at the end, in bytes.
const GROWTH: usize = 64 << 20;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect(name))
}

/// What the process holds, in bytes; none where that is not told.
fn held() -> Option<usize> {
    let told = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = told.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// Runs each of these on one of [`THREADS`] threads, as far as no one has failed.
fn run<T: Sync>(tasks: &[T], run: impl Fn(&T) -> Vec<String> + Sync) -> Vec<String> {
    let (next, findings) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while findings.lock().unwrap().is_empty()
                    && let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let found = run(task);
                    findings.lock().unwrap().extend(found);
                }
            });
        }
    });
    findings.into_inner().unwrap()
}

/// On this thread alone.
fn alone<F: Future>(seed: u64, future: F) -> F::Output {
    // Of the pauses after failures.
    fastrand::seed(seed);
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

#[test]
fn worlds_come_to_rest_in_agreement() {
    let from = number("FAULTS_SEED");
    let count = number("FAULTS_WORLDS").unwrap_or(if from.is_some() { 1 } else { WORLDS });
    let from = from.unwrap_or(0);
    let seeds: Vec<u64> = (from..from + count).collect();
    let counts = Mutex::new(Counts::new());
    let quarter = Mutex::new(None);
    let findings = run(&seeds, |seed| {
        let (done, findings) = alone(*seed, World::run(*seed));
        let mut counts = counts.lock().unwrap();
        add(&mut counts, &done);
        if counts["worlds"] as u64 == count.div_ceil(4) {
            *quarter.lock().unwrap() = held();
        }
        findings
            .into_iter()
            .map(|found| format!("FAULTS_SEED={seed}: {found}"))
            .collect()
    });
    let counts = counts.into_inner().unwrap();
    eprintln!("{counts:#?}");
    assert!(findings.is_empty(), "{} after {counts:#?}", findings.join("\n"));
    assert!(counts["faults"] > 0 && counts["edits"] > 0, "{counts:#?}");
    // Not in every world.
    for what in ["connections of devices cut", "taken over"] {
        assert!(count < WORLDS || counts[what] > 0, "{counts:#?}");
    }
    if let (Some(quarter), Some(end)) = (quarter.into_inner().unwrap(), held()) {
        assert!(
            end < quarter + GROWTH,
            "{quarter} bytes were held after a quarter of the worlds, {end} at the end"
        );
    }
}

#[test]
fn a_proxy_killed_at_any_point_of_a_write_leaves_nothing_undone() {
    let tasks: Vec<_> = kills::all().collect();
    let counts = Mutex::new(Counts::new());
    let findings = run(&tasks, |(writing, at)| {
        let (kills, findings) = alone(0, kills::tried(writing, *at));
        let what = match at {
            At::Request(_) => "killed at a request",
            At::Wait => "killed where it waits",
        };
        add(
            &mut counts.lock().unwrap(),
            &Counts::from([(what, kills), (writing.name, kills)]),
        );
        findings
    });
    eprintln!("{:#?}", counts.into_inner().unwrap());
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn a_client_that_goes_away_and_comes_again_writes_once() {
    let tasks: Vec<_> = cuts::all().collect();
    let counts = Mutex::new(Counts::new());
    let findings = run(&tasks, |writing| {
        let (done, findings) = alone(0, cuts::tried(writing));
        add(&mut counts.lock().unwrap(), &done);
        findings
    });
    let counts = counts.into_inner().unwrap();
    eprintln!("{counts:#?}");
    assert!(findings.is_empty(), "{findings:#?}");
    assert!(counts["had been written"] > 0, "{counts:#?}");
}
