//! Whatever breaks, and wherever: once the network has healed, all that was acknowledged is in every version it must reach.
//!
//! Worlds are made from seeds. `FAULTS_SEED=17 cargo test --test faults worlds -- --nocapture` runs world 17 alone, `FAULTS_WORLDS=2000` so many
//! of them from that seed on, or from 0: a night's run. A failure tells its seed.
//!
//! A seed determines who does what and when, every revision that a device writes, and what becomes of the n-th request of a kind that a proxy
//! makes. Each world has one thread. What it does not determine is which of several tasks that wait for sockets and timers goes first, so a
//! failure that hangs on a race may take several runs of its seed to come back.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod check;
mod device;
mod kills;
#[path = "../parked/lot.rs"]
#[allow(dead_code, reason = "every test file uses its own part")]
mod lot;
#[path = "../support/past.rs"]
mod past;
mod person;
#[path = "../support/stage.rs"]
mod stage;
mod tree;
mod upstream;
mod world;

use std::{
    env, fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::runtime;
use world::{Counts, World, add};

/// Worlds of a run of the whole suite.
const WORLDS: u64 = 24;

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
    if let (Some(quarter), Some(end)) = (quarter.into_inner().unwrap(), held()) {
        assert!(
            end < quarter + GROWTH,
            "{quarter} bytes were held after a quarter of the worlds, {end} at the end"
        );
    }
}

#[test]
fn a_proxy_killed_at_any_request_of_a_write_leaves_nothing_undone() {
    let tasks: Vec<_> = kills::deaths().collect();
    let killed = AtomicUsize::new(0);
    let findings = run(&tasks, |(writing, death)| {
        let (kills, findings) = alone(0, kills::tried(*writing, *death));
        killed.fetch_add(kills, Ordering::Relaxed);
        findings
    });
    eprintln!("a proxy was killed {killed:?} times");
    assert!(findings.is_empty(), "{findings:#?}");
}
