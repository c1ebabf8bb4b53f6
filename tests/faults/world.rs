//! A world: three proxies that follow their database, each before an upstream that fails in its own way, six devices in three versions,
//! and somebody who writes past them all. At its end the network heals.
//!
//! Some todos are worked on by one device alone, some by all, but each only by who has seen all that was done to it before, and some by all at
//! any time: of these only may documents be in conflict.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use chesterfield::{follower::Follower, upstream::UpstreamService};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    check::{Seen, key, reached, tells},
    device::{Device, Edit, Lost},
    lot::{Lot, SHORT},
    past::{ids, todo},
    stage::{Asking, Stage},
    upstream::{DEATHS, Faulty},
};

/// How long a healed world may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(30);

const STEPS: usize = 60;
const PROXIES: usize = 3;
const DEVICES: usize = 6;

/// The todos on which all work at any time.
const SHARED: [&str; 3] = ["any-0", "any-1", "any-2"];

/// What was done to worlds.
pub type Counts = BTreeMap<&'static str, usize>;

struct Node {
    asking: Asking,
    follower: Follower,
    faulty: Faulty,
}

pub struct World {
    seed: u64,
    rng: fastrand::Rng,
    stage: Stage,
    lot: Lot,
    /// Without faults.
    upstream: UpstreamService,
    nodes: Vec<Node>,
    devices: Vec<Device>,
    /// By which proxy each device goes.
    by: Vec<usize>,
    /// What was written past the proxies.
    past: Vec<Edit>,
    titles: usize,
    is_healed: bool,
    counts: Counts,
}

/// What a device does with the network.
enum Act {
    Push,
    Pull,
    Both,
    Put(String, Value),
}

pub fn add(to: &mut Counts, other: &Counts) {
    for (what, count) in other {
        *to.entry(what).or_default() += count;
    }
}

impl World {
    /// Runs one to its end; answers what was done to it, and what is wrong.
    pub async fn run(seed: u64) -> (Counts, Vec<String>) {
        let mut world = Self::new(seed).await;
        for _ in 0..STEPS {
            world.step().await;
        }
        let findings = world.heal().await;
        (world.end().await, findings)
    }

    async fn new(seed: u64) -> Self {
        let (lot, mut stage) = Lot::of(Path::new("schemas")).await;
        stage.park(SHORT);
        let mut world = Self {
            seed,
            rng: fastrand::Rng::with_seed(seed),
            upstream: stage.upstream.service.clone(),
            stage,
            lot,
            nodes: Vec::new(),
            devices: Vec::new(),
            by: (0..DEVICES).map(|n| n % PROXIES).collect(),
            past: Vec::new(),
            titles: 0,
            is_healed: false,
            counts: Counts::from([("worlds", 1)]),
        };
        for _ in 0..PROXIES {
            let node = world.node().await;
            world.nodes.push(node);
        }
        for n in 0..DEVICES {
            let version = n as u64 % 3 + 1;
            let name = format!("device-{n}");
            let proxy = &world.nodes[world.by[n]].asking;
            world.devices.push(Device::new(name, version, world.rng.u64(..), proxy));
        }
        world
    }

    async fn node(&mut self) -> Node {
        let faulty = Faulty::new(self.upstream.clone(), self.rng.u64(..));
        if !self.is_healed {
            faulty.weather([0, 5, 10, 20][self.rng.usize(..4)]);
        }
        self.stage.upstream.service = faulty.service();
        let (asking, follower) = self
            .stage
            .proxy_that_follows(|settings| {
                settings.sweep = Duration::from_millis(200);
                settings.pauses.longest = Duration::from_millis(50);
            })
            .await;
        self.stage.upstream.service = self.upstream.clone();
        faulty.ends(self.stage.process(&asking));
        Node {
            asking,
            follower,
            faulty,
        }
    }

    /// Puts others in the place of those that have died.
    async fn bury(&mut self) {
        for n in 0..PROXIES {
            if self.nodes[n].faulty.is_dead() {
                let node = self.node().await;
                let dead = std::mem::replace(&mut self.nodes[n], node);
                self.stage.bury(&dead.asking);
                add(&mut self.counts, &dead.faulty.counts());
                drop(dead.follower);
                for (device, by) in self.devices.iter_mut().zip(&self.by) {
                    if *by == n {
                        device.go_by(&self.nodes[n].asking);
                    }
                }
            }
        }
    }

    async fn step(&mut self) {
        let node = self.rng.usize(..PROXIES);
        match self.rng.u8(..10) {
            0 => self.nodes[node]
                .faulty
                .weather([0, 0, 10, 30, 100][self.rng.usize(..5)]),
            1 => {
                let death = DEATHS[self.rng.usize(..DEATHS.len())];
                self.nodes[node].faulty.doom(Some((self.rng.usize(..10), death)));
            }
            2 => {
                let device = self.rng.usize(..DEVICES);
                self.by[device] = node;
                self.devices[device].go_by(&self.nodes[node].asking);
            }
            3 => self.write_past().await,
            _ => {}
        }
        let mut acts: Vec<Option<Act>> = (0..DEVICES).map(|_| None).collect();
        for _ in 0..=self.rng.usize(..3) {
            let n = self.rng.usize(..DEVICES);
            for _ in 0..self.rng.usize(..3) {
                self.work(n);
            }
            acts[n] = match self.rng.u8(..10) {
                0 | 1 => Some(Act::Push),
                2 | 3 => Some(Act::Pull),
                4..=7 => Some(Act::Both),
                8 => Some(self.online(n)),
                _ => None,
            };
        }
        let busy = self.devices.iter_mut().zip(acts);
        let busy = busy.filter_map(|(device, act)| act.map(|act| act.done_by(device)));
        for done in join_all(busy).await {
            let what = if done.is_ok() { "syncs" } else { "syncs that failed" };
            *self.counts.entry(what).or_default() += 1;
        }
        self.bury().await;
    }

    fn title(&mut self) -> String {
        self.titles += 1;
        format!("{}.{}", self.seed, self.titles)
    }

    /// Somebody does something on a device.
    fn work(&mut self, n: usize) {
        let title = self.title();
        let choice = self.rng.u8(..);
        let may_delete = match self.rng.u8(..6) {
            0 | 1 => return self.devices[n].work(&format!("alone-{n}"), title, choice, true),
            2 | 3 => false,
            _ => true,
        };
        let key = if may_delete {
            SHARED[self.rng.usize(..3)].to_owned()
        } else {
            format!("turns-{}", self.rng.u8(..2))
        };
        if may_delete || self.has_seen_all(n, &key) {
            self.devices[n].work(&key, title, choice, may_delete);
        }
    }

    /// Whether what a device shows of a todo goes back to all that was ever done to it.
    fn has_seen_all(&self, n: usize, todo: &str) -> bool {
        let device = &self.devices[n];
        let shown = device.works_on(todo);
        let done = self
            .devices
            .iter()
            .flat_map(|device| &device.edits)
            .filter(|edit| key(&edit.id) == todo);
        done.into_iter().all(|edit| {
            let told_by = reached(&edit.id);
            shown
                .iter()
                .filter(|id| **id == edit.id || told_by.contains(id))
                .all(|id| {
                    let tree = device.trees.get(id);
                    let path = tree.and_then(|tree| Some(tree.path(tree.winner()?)));
                    tells(path.unwrap_or_default(), &edit.rev)
                })
        })
    }

    fn online(&mut self, n: usize) -> Act {
        let key = SHARED[self.rng.usize(..3)].to_owned();
        let title = self.title();
        let device = &self.devices[n];
        let id = device.works_on(&key)[0].clone();
        let mut body = device.shown(&id).cloned().unwrap_or_else(|| device.new_todo());
        body["title"] = json!(title);
        match device.version {
            1 => Act::Put(id, body),
            // Its status comes by replication.
            _ if device.shown(&device.works_on(&key)[1]).is_some() => Act::Put(id, body),
            _ => Act::Both,
        }
    }

    /// Somebody writes to CouchDB itself: a todo that others work on, too, or several that nobody else does.
    async fn write_past(&mut self) {
        let keys: Vec<String> = match self.rng.bool() {
            true => vec![SHARED[self.rng.usize(..3)].to_owned()],
            false => (0..5)
                .filter(|_| self.rng.bool())
                .map(|n| format!("past-{n}"))
                .collect(),
        };
        let couch = self.stage.direct();
        let mut documents = Vec::new();
        for key in keys {
            let [id, ..] = ids(&key);
            let mut body = todo(&self.title());
            if let Some(rev) = couch.ask("GET", &id, "").await.body.get("_rev") {
                body["_rev"] = rev.clone();
            }
            body["_id"] = json!(id);
            documents.push(body);
        }
        let batch = json!({"docs": documents}).to_string();
        let rows = couch.ask("POST", "_bulk_docs", batch).await.body;
        // Somebody else may have been faster.
        let written = rows.as_array().unwrap().iter().filter(|row| row["ok"] == true);
        self.past.extend(written.map(|row| Edit {
            id: row["id"].as_str().unwrap().to_owned(),
            rev: row["rev"].as_str().unwrap().to_owned(),
            is_acknowledged: true,
        }));
    }

    /// Ends all faults, and waits until everything is as it should be; answers what never becomes so.
    async fn heal(&mut self) -> Vec<String> {
        // What comes last nobody makes up for by chance.
        for node in &self.nodes {
            node.faulty.weather(100);
        }
        for _ in 0..3 {
            self.write_past().await;
        }
        self.is_healed = true;
        let all_die = self.rng.bool();
        for node in &self.nodes {
            node.faulty.weather(0);
            node.faulty.doom(None);
            if all_die {
                node.faulty.kill();
            }
        }
        self.bury().await;
        let mut findings = self.rest(|id| !is_shared(id)).await;
        // Somebody in each version resolves what is in conflict in its documents, and nobody has it any longer.
        let mut resolvers = [0, 1, 2];
        self.rng.shuffle(&mut resolvers);
        let mut resolved: BTreeSet<String> = BTreeSet::new();
        for resolver in resolvers {
            if !findings.is_empty() {
                return findings;
            }
            let resolver = &mut self.devices[resolver];
            let ids: Vec<String> = SHARED.iter().flat_map(|key| resolver.works_on(key)).collect();
            ids.iter().for_each(|id| resolver.resolve(id));
            resolved.extend(ids);
            findings = self.rest(|id| !is_shared(id) || resolved.contains(id)).await;
        }
        if !findings.is_empty() {
            return findings;
        }
        match self.stage.backfill().await {
            0 => Vec::new(),
            written => vec![format!("{written} revisions were missing, and nothing told of it")],
        }
    }

    /// Waits until everything is as it should be, and documents like these are without conflict; answers what never becomes so.
    async fn rest(&mut self, is_calm: impl Fn(&str) -> bool) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let findings = self.look(&is_calm).await;
            if findings.is_empty() || begun.elapsed() > PATIENCE {
                return findings;
            }
        }
    }

    /// Everybody does what is to be done; answers what is still wrong.
    async fn look(&mut self, is_calm: impl Fn(&str) -> bool) -> Vec<String> {
        let mut findings = Vec::new();
        for device in &mut self.devices {
            if let Err(Lost(why)) = Act::Both.done_by(device).await {
                findings.push(format!("without faults: {why}"));
            }
        }
        for Node { follower, .. } in &self.nodes {
            follower.wake(&self.stage.db);
            follower.rested().await;
        }
        if !self.lot.entries(&self.stage).await.is_empty() {
            self.stage.retry().await;
        }
        let seen = Seen::read(&self.stage.direct()).await;
        let edits = self.devices.iter().flat_map(|device| &device.edits).chain(&self.past);
        findings.extend(seen.lost(edits));
        findings.extend(seen.disagreements());
        findings.extend(seen.conflicts(is_calm));
        for device in &self.devices {
            findings.extend(device.differences(&seen));
        }
        let parked = self.lot.entries(&self.stage).await;
        findings.extend(parked.iter().map(|entry| format!("still parked: {entry}")));
        findings
    }

    async fn end(mut self) -> Counts {
        let edits: usize = self.devices.iter().map(|device| device.edits.len()).sum();
        *self.counts.entry("edits").or_default() += edits + self.past.len();
        for node in self.nodes {
            add(&mut self.counts, &node.faulty.counts());
            drop(node.follower);
        }
        self.lot.end(self.stage).await;
        self.counts
    }
}

fn is_shared(id: &str) -> bool {
    SHARED.contains(&key(id))
}

impl Act {
    async fn done_by(self, device: &mut Device) -> Result<(), Lost> {
        match self {
            Self::Push => device.push().await,
            Self::Pull => device.pull().await,
            Self::Both => {
                device.push().await?;
                device.pull().await
            }
            Self::Put(id, body) => device.put(&id, body).await,
        }
    }
}
