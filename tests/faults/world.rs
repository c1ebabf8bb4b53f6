//! A world: three proxies that follow their database, each before an upstream that fails in its own way, six devices with an app in all its
//! versions, and somebody who writes past them all. At its end the network heals.
//!
//! Some entities are worked on by one device alone, some by all, but each only by who has seen all that was done to it before, and some by all
//! at any time: of these only may documents be in conflict. In every other world the proxies share the database by leases.

mod heal;

use std::{collections::BTreeMap, time::Duration};

use chesterfield::{follower::Follower, upstream::UpstreamService};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    app::{App, Doing, Schemas},
    apps,
    check::{Seen, tells},
    device::{Device, Edit},
    line::Lost,
    lot::{Lot, SHORT},
    stage::{Asking, Stage},
    upstream::{DEATHS, Faulty},
};

const STEPS: usize = 60;
const PROXIES: usize = 3;
const DEVICES: usize = 6;

/// Of proxies that share the database. Whoever is too slow for it is followed by another one, too, which does no harm.
const TERM: Duration = Duration::from_millis(600);

/// The entities on which all work at any time.
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
    app: App,
    _schemas: Schemas,
    stage: Stage,
    lot: Lot,
    lease: Option<Duration>,
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
        if !findings.is_empty() {
            let seen = Seen::read(&world.stage.direct()).await;
            let edits = world.devices.iter().flat_map(|device| &device.edits);
            eprintln!("{seed}: {}", seen.told(&world.app, &findings, edits.chain(&world.past)));
        }
        let name = world.app.model.name();
        let told = findings.into_iter().map(|found| format!("{name}: {found}")).collect();
        (world.end().await, told)
    }

    async fn new(seed: u64) -> Self {
        let model = apps::ALL[seed as usize % apps::ALL.len()];
        let schemas = model.schemas();
        let (lot, mut stage) = Lot::of(&schemas.path()).await;
        stage.park(SHORT);
        let mut world = Self {
            seed,
            rng: fastrand::Rng::with_seed(seed),
            app: App::new(model, stage.config()),
            _schemas: schemas,
            upstream: stage.upstream.service.clone(),
            stage,
            lot,
            lease: (seed % 2 == 1).then_some(TERM),
            nodes: Vec::new(),
            devices: Vec::new(),
            by: (0..DEVICES).map(|n| n % PROXIES).collect(),
            past: Vec::new(),
            titles: 0,
            is_healed: false,
            counts: Counts::from([("worlds", 1), (model.name(), 1)]),
        };
        for _ in 0..PROXIES {
            let node = world.node().await;
            world.nodes.push(node);
        }
        for n in 0..DEVICES {
            let version = n % world.app.versions() + 1;
            let name = format!("device-{n}");
            let proxy = &world.nodes[world.by[n]].asking;
            let device = Device::new(name, world.app.clone(), version, world.rng.u64(..), proxy);
            device.line.cuts().rate = [0, 0, 5, 20][world.rng.usize(..4)];
            world.devices.push(device);
        }
        world
    }

    async fn node(&mut self) -> Node {
        let faulty = Faulty::new(self.upstream.clone(), self.rng.u64(..));
        if !self.is_healed {
            faulty.weather([0, 5, 10, 20][self.rng.usize(..4)]);
        }
        self.stage.upstream.service = faulty.service();
        let lease = self.lease;
        let (asking, follower) = self
            .stage
            .proxy_that_follows(|settings| {
                settings.sweep = Duration::from_millis(200);
                settings.pauses.longest = Duration::from_millis(50);
                settings.lease = lease;
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

    /// Forgets one that has died, but for what it suffered.
    fn mourn(&mut self, dead: Node) {
        self.stage.bury(&dead.asking);
        add(&mut self.counts, &dead.faulty.counts());
        drop(dead.follower);
    }

    /// Puts others in the place of those that have died.
    async fn bury(&mut self) {
        for n in 0..self.nodes.len() {
            if self.nodes[n].faulty.is_dead() {
                let node = self.node().await;
                let dead = std::mem::replace(&mut self.nodes[n], node);
                self.mourn(dead);
                self.redirect();
            }
        }
    }

    /// Every device goes by the proxy that is in its place.
    fn redirect(&mut self) {
        for (device, by) in self.devices.iter_mut().zip(&self.by) {
            device.line.go_to(&self.nodes[by % self.nodes.len()].asking);
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
                self.devices[device].line.go_to(&self.nodes[node].asking);
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
            self.count(what);
        }
        self.bury().await;
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn title(&mut self) -> String {
        self.titles += 1;
        format!("{}.{}", self.seed, self.titles)
    }

    fn doing(&mut self, n: usize, key: String, is_free: bool) -> Doing {
        Doing {
            version: self.devices[n].version,
            key,
            title: self.title(),
            choice: self.rng.u8(..),
            is_free,
        }
    }

    /// Somebody does something on a device.
    fn work(&mut self, n: usize) {
        let (key, is_free) = match self.rng.u8(..6) {
            0 | 1 => (format!("alone-{n}"), true),
            2 | 3 => (format!("turns-{}", self.rng.u8(..2)), false),
            _ => (SHARED[self.rng.usize(..3)].to_owned(), true),
        };
        let doing = self.doing(n, key, is_free);
        if is_free || self.has_seen_all(n, &doing.key) {
            self.devices[n].work(&doing);
        }
    }

    /// Whether what a device shows of an entity goes back to all that was ever done to it.
    fn has_seen_all(&self, n: usize, key: &str) -> bool {
        let device = &self.devices[n];
        let shown = self.app.model.works_on(device.version, key);
        let done = self
            .devices
            .iter()
            .flat_map(|device| &device.edits)
            .filter(|edit| self.app.key(&edit.id).as_deref() == Some(key));
        done.into_iter().all(|edit| {
            let told_by = self.app.reached(&edit.id);
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

    /// What is written on the server, not on the device. What takes several documents comes by replication.
    fn online(&mut self, n: usize) -> Act {
        let key = SHARED[self.rng.usize(..3)].to_owned();
        let doing = self.doing(n, key, true);
        let device = &self.devices[n];
        match &mut device.planned(&doing)[..] {
            [(id, Some(body))] if !device.is_unsure() => Act::Put(std::mem::take(id), body.take()),
            _ => Act::Both,
        }
    }

    /// Somebody writes to CouchDB itself: an entity that others work on, too, or several that nobody else does.
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
            let title = self.title();
            // One that changes nothing but the title, if the entity is there.
            let (choice, is_free) = (7, false);
            let doing = Doing {
                version: 1,
                key,
                title,
                choice,
                is_free,
            };
            let [(id, body)] = self.app.model.done(&doing, &|_| None).try_into().unwrap();
            let mut body = body.unwrap();
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

    async fn end(mut self) -> Counts {
        let edits: usize = self.devices.iter().map(|device| device.edits.len()).sum();
        *self.counts.entry("edits").or_default() += edits + self.past.len();
        let cuts: usize = self.devices.iter().map(|device| device.line.cuts().count).sum();
        self.counts.insert("connections of devices cut", cuts);
        let met_themselves = self.devices.iter().map(|device| device.met_itself).sum();
        self.counts
            .insert("writes tried again that had come through", met_themselves);
        for node in self.nodes {
            add(&mut self.counts, &node.faulty.counts());
            drop(node.follower);
        }
        self.lot.end(self.stage).await;
        self.counts
    }
}

impl Act {
    async fn done_by(self, device: &mut Device) -> Result<(), Lost> {
        device.settle().await?;
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
