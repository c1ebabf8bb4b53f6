//! The end of a world: the network heals, one of the proxies that share the database dies for good, conflicts are resolved, and then all has to
//! be as it should.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::Value;

use super::{Act, Node, SHARED, World};
use crate::{app::App, check::Seen, line::Lost};

/// How long a healed world may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(30);

/// Nobody works on it at the same time as somebody else.
fn is_sequential(app: &App, id: &str) -> bool {
    let key = app.key(id).unwrap_or_default();
    ["alone", "turns", "past"].iter().any(|prefix| key.starts_with(prefix))
}

impl World {
    /// Ends all faults, and waits until everything is as it should be; answers what never becomes so.
    pub(super) async fn heal(&mut self) -> Vec<String> {
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
        for device in &self.devices {
            device.line.cuts().rate = 0;
        }
        self.bury().await;
        if self.lease.is_some()
            && let Err(why) = self.take_over().await
        {
            return vec![why];
        }
        let app = self.app.clone();
        let mut findings = self.rest(|id| is_sequential(&app, id)).await;
        // Somebody in each version resolves what is in conflict in its documents, and nobody has it any longer.
        let mut resolvers: Vec<usize> = (0..app.versions()).collect();
        self.rng.shuffle(&mut resolvers);
        let mut resolved: BTreeSet<String> = BTreeSet::new();
        for resolver in resolvers {
            if !findings.is_empty() {
                return findings;
            }
            let resolver = &mut self.devices[resolver];
            let ids: Vec<String> = SHARED
                .iter()
                .flat_map(|key| app.model.resolves(resolver.version, key))
                .collect();
            ids.iter().for_each(|id| resolver.resolve(id));
            resolved.extend(ids);
            findings = self.rest(|id| is_sequential(&app, id) || resolved.contains(id)).await;
        }
        if !findings.is_empty() {
            return findings;
        }
        Seen::missed(&self.stage, &self.app).await
    }

    /// The proxy that follows the database dies, nobody comes in its place, and then something is written: the others find that.
    async fn take_over(&mut self) -> Result<(), String> {
        let holder = self.holder().await?;
        let dead = self.nodes.remove(holder);
        dead.faulty.kill();
        self.mourn(dead);
        self.redirect();
        self.write_past().await;
        self.holder().await?;
        self.count("taken over");
        Ok(())
    }

    /// Which proxy follows the database, once all know of each other.
    async fn holder(&self) -> Result<usize, String> {
        let begun = Instant::now();
        let alive = self.nodes.len();
        while begun.elapsed() < PATIENCE {
            let all_know = self.nodes.iter().map(|node| async {
                let mut proxies = node.follower.proxies().unwrap();
                let known = proxies.wait_for(|known| *known == alive);
                tokio::time::timeout(PATIENCE, known).await.is_ok()
            });
            join_all(all_know).await;
            let holds = |node: &Node| node.follower.follows(&self.stage.db);
            let mut holders = (0..alive).filter(|n| holds(&self.nodes[*n]));
            if let (Some(holder), None) = (holders.next(), holders.next()) {
                return Ok(holder);
            }
            tokio::task::yield_now().await;
        }
        Err(format!("{alive} proxies do not agree on who follows the database"))
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
        self.rested().await;
        if !self.lot.entries(&self.stage).await.iter().all(is_lease) {
            self.stage.retry().await;
        }
        let seen = Seen::read(&self.stage.direct()).await;
        let edits = self.devices.iter().flat_map(|device| &device.edits).chain(&self.past);
        findings.extend(seen.lost(&self.app, edits));
        findings.extend(seen.disagreements(&self.app));
        findings.extend(seen.conflicts(&self.app, is_calm));
        for device in &self.devices {
            findings.extend(device.differences(&seen));
        }
        let parked = self.lot.entries(&self.stage).await;
        let parked = parked.iter().filter(|entry| !is_lease(entry));
        findings.extend(parked.map(|entry| format!("still parked: {entry}")));
        findings
    }

    /// Waits until no follower finds anything that another one has just written.
    async fn rested(&self) {
        let couch = self.stage.direct();
        let seq = async || couch.ask("GET", "", "").await.body["update_seq"].take();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let before = seq().await;
            for Node { follower, .. } in &self.nodes {
                follower.wake(&self.stage.db);
                follower.rested().await;
            }
            if seq().await == before {
                return;
            }
        }
    }
}

/// Of what the proxies keep in their own database.
fn is_lease(entry: &Value) -> bool {
    entry["_id"].as_str().is_some_and(|id| id.starts_with("lease:"))
}
