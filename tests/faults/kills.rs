//! Proxies killed at every point of a write; who comes after them makes up for what they left.
//!
//! Each point has an entity of its own, so that all are killed first, and one follower then finds what all of them have left, having read before
//! what was there then.

use std::{collections::HashMap, time::Duration};

use serde_json::json;

use crate::{
    app::App,
    check::Seen,
    device::Edit,
    line::Line,
    stage::{Asking, Stage},
    stepped::{Ended, Stepped},
    upstream::{DEATHS, Death, Faulty},
    writing::{self, Asked, Writing},
};

/// Where a proxy is killed.
#[derive(Clone, Copy, Debug)]
pub enum At {
    /// At a request that it makes.
    Request(Death),
    /// Where one of its tasks waits.
    Wait,
}

/// All of them.
pub fn all() -> impl Iterator<Item = (&'static Writing, At)> {
    let deaths = DEATHS.into_iter().map(At::Request);
    let points: Vec<At> = deaths.chain([At::Wait]).collect();
    writing::ALL
        .iter()
        .flat_map(move |writing| points.clone().into_iter().map(move |at| (writing, at)))
}

impl At {
    /// More points than any write has.
    fn most(self) -> usize {
        match self {
            At::Request(_) => 40,
            At::Wait => 1000,
        }
    }

    /// Fewer than any has: the write itself, what is read for it, and what is derived; and for each of them somebody has to wait.
    fn least(self) -> usize {
        match self {
            At::Request(_) => 3,
            At::Wait => 12,
        }
    }
}

/// What came of a write.
struct Tried {
    is_killed: bool,
    acknowledged: Vec<Edit>,
}

async fn follow(stage: &mut Stage) {
    let follower = stage.follow(|settings| settings.sweep = Duration::from_millis(50));
    follower.wake(&stage.db);
    follower.rested().await;
    stage.stop_following();
    follower.ended().await;
}

/// Tries every point of one write; answers how often a proxy was killed, and what is wrong.
pub async fn tried(writing: &Writing, at: At) -> (usize, Vec<String>) {
    let schemas = writing.model.schemas();
    let mut stage = Stage::of(&schemas.path()).await;
    let app = App::new(writing.model, stage.config());
    let couch = stage.direct();
    let mut points = at.least();
    let mut acknowledged = Vec::new();
    let mut kills = 0;
    // Some at a time: how many there are is seen at the last.
    'all: while points < at.most() {
        let ready: Vec<usize> = (kills..kills + points).collect();
        let requests = prepared(&mut stage, writing, &ready).await;
        for (n, asked) in ready.into_iter().zip(requests) {
            let tried = match at {
                At::Request(death) => at_request(&mut stage, &asked, n, death).await,
                At::Wait => at_wait(&stage, &asked, n + 1).await,
            };
            acknowledged.extend(tried.acknowledged);
            if !tried.is_killed {
                break 'all;
            }
            kills += 1;
        }
        points *= 2;
    }
    follow(&mut stage).await;
    let seen = Seen::read(&couch).await;
    let mut wrong = seen.lost(&app, &acknowledged);
    wrong.extend(seen.disagreements(&app));
    wrong.extend(seen.keys(&app).iter().filter_map(|key| seen.uneven(&app, key)));
    wrong.extend(seen.conflicts(&app, |_| !writing.is_conflict));
    wrong.extend(Seen::missed(&stage, &app).await);
    stage.end().await;
    let named = wrong
        .into_iter()
        .map(|wrong| format!("{}, {at:?}: {wrong}", writing.name));
    let mut findings: Vec<String> = named.collect();
    if kills < at.least() || kills >= at.most() {
        findings.push(format!("{}, {at:?}: it was killed {kills} times", writing.name));
    }
    (kills, findings)
}

/// Writes what has to be there before, and lets a follower read it; answers the requests.
pub async fn prepared(stage: &mut Stage, writing: &Writing, numbers: &[usize]) -> Vec<Asked> {
    let key = |n: &usize| format!("k{n}");
    let docs: Vec<_> = numbers.iter().flat_map(|n| (writing.before)(&key(n))).collect();
    if !docs.is_empty() {
        let proxy = stage.proxy().await;
        let batch = json!({"docs": docs}).to_string();
        let answer = proxy.ask("POST", "_bulk_docs", batch).await;
        assert!(answer.status.is_success(), "{answer:?}");
        stage.ended().await;
    }
    follow(stage).await;
    let listed = stage.direct().ask("GET", "_all_docs", "").await.body;
    let rows = listed["rows"].as_array().unwrap().iter();
    let revs: HashMap<&str, &str> = rows
        .map(|row| (row["id"].as_str().unwrap(), row["value"]["rev"].as_str().unwrap()))
        .collect();
    let rev = |id: &str| revs[id].to_owned();
    numbers.iter().map(|n| (writing.request)(&key(n), &rev)).collect()
}

async fn send(proxy: &Asking, asked: &Asked) -> Vec<Edit> {
    match Line::new(proxy, None, 0).send(&asked.sending()).await {
        Ok((status, answer)) => {
            assert!(status.is_success(), "{answer}");
            asked.acknowledged(&answer)
        }
        Err(_) => Vec::new(),
    }
}

async fn at_request(stage: &mut Stage, asked: &Asked, n: usize, death: Death) -> Tried {
    let upstream = stage.upstream.service.clone();
    let faulty = Faulty::new(upstream.clone(), 1);
    stage.upstream.service = faulty.service();
    let proxy = stage.proxy().await;
    stage.upstream.service = upstream;
    faulty.ends(stage.process(&proxy));
    faulty.doom(Some((n, death)));
    let acknowledged = send(&proxy, asked).await;
    let is_killed = faulty.is_dead();
    if is_killed {
        stage.bury(&proxy);
    } else {
        stage.ended().await;
    }
    Tried {
        is_killed,
        acknowledged,
    }
}

async fn at_wait(stage: &Stage, asked: &Asked, steps: usize) -> Tried {
    let process = Stepped::start(stage.config(), stage.address());
    let proxy = stage.asking_at(&process.url);
    process.doom(steps);
    let acknowledged = send(&proxy, asked).await;
    let ended = process.ended().await;
    Tried {
        is_killed: ended == Ended::Killed,
        acknowledged,
    }
}
