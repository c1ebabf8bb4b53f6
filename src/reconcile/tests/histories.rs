//! What must hold (design, 3.4), each on generated histories.

use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::{
    apps::{self, App, GROUPS, Kind, kinds},
    couch_model::Db,
};
use crate::{
    couch::Rev,
    reconcile::{Write, revision::EditId},
};

/// One step of a history: what happens, and to whom.
pub type Act = [u8; 3];

pub fn acts(most: usize) -> impl Strategy<Value = Vec<Act>> {
    vec(any::<Act>(), 1..most)
}

pub struct Client {
    pub version: usize,
    pub db: Db,
    pub server: usize,
}

pub struct World {
    pub app: App,
    /// The same, merging fields.
    merging: App,
    /// For each server, whether its proxies do.
    is_merging: [bool; 2],
    pub servers: Vec<Db>,
    pub clients: Vec<Client>,
    /// Writes that a proxy has made up its mind about, and not yet made.
    pub late: Vec<(usize, Vec<Write>)>,
    authored: Vec<(String, Rev, Option<Value>)>,
    written: u64,
}

impl World {
    pub fn new(kind: apps::Kind, merging: [bool; 2], servers: usize, versions: &[usize]) -> Self {
        let clients = versions.iter().enumerate();
        Self {
            app: App::new(kind),
            merging: App::new(kind).merging_fields(),
            is_merging: merging,
            servers: vec![Db::default(); servers],
            clients: clients
                .map(|(n, &version)| Client {
                    version,
                    db: Db::default(),
                    server: n % servers,
                })
                .collect(),
            late: Vec::new(),
            authored: Vec::new(),
            written: 0,
        }
    }

    /// A client writes as PouchDB does: on top of what it shows.
    pub fn author(&mut self, client: usize, id: &str, body: Option<Value>) {
        let tree = self.clients[client].db.tree(id);
        let path = tree.winner().map(|winner| tree.path(&winner)).unwrap_or_default();
        self.append(client, id, path, body);
    }

    pub fn append(&mut self, client: usize, id: &str, mut path: Vec<Rev>, body: Option<Value>) {
        self.written += 1;
        // Scrambled, so that no order of hashes follows the order of writing.
        let hash = u128::from(self.written.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | 0x1234_5678;
        path.insert(
            0,
            Rev::new(path.first().map_or(0, Rev::generation) + 1, &format!("{hash:032x}")),
        );
        let text = body.as_ref().map(Value::to_string);
        self.clients[client].db.write(id, &path, text);
        self.authored.push((id.to_owned(), path.swap_remove(0), body));
    }

    /// What was written so far was there before anybody carried anything, which a proxy of this server does now.
    pub fn begin(&mut self, server: usize) -> Vec<Write> {
        self.authored.clear();
        for app in [&mut self.app, &mut self.merging] {
            app.has_copies = true;
        }
        let writes = self.servers[server].missing(self.proxy(server)).writes;
        for app in [&mut self.app, &mut self.merging] {
            app.has_copies = false;
        }
        writes
    }

    /// One field at a time, as people edit.
    pub(super) fn edit(&mut self, client: usize, choice: u8) {
        let version = self.clients[client].version;
        let main = self.app.main(version).to_owned();
        let shown = self.clients[client].db.shown(&main);
        if self.app.entities.len() > 1 && version == 3 {
            let group = self.app.ids[3 + usize::from(choice) % 3].clone();
            let is_there = self.clients[client].db.shown(&group).is_some();
            if is_there && (16..90).contains(&choice) {
                return self.author(client, &group, Some(self.app.group_body(choice / 3)));
            }
            if is_there && choice < 4 {
                return self.author(client, &group, None);
            }
            // Whoever refers to a group has it.
            for (n, key) in GROUPS.iter().enumerate() {
                let group = self.app.ids[3 + n].clone();
                if self.clients[client].db.tree(&group).parent.is_empty() {
                    self.author(client, &group, Some(serde_json::json!({"name": key})));
                }
            }
        }
        if let Some(part) = self.app.part(version).map(str::to_owned) {
            let is_optional = self.app.is_optional();
            if self.clients[client].db.shown(&part).is_none() && !is_optional {
                self.author(client, &part, Some(self.app.part_body(0)));
            } else if choice < 8 && (shown.is_some() || !is_optional) {
                return self.author(client, &part, None);
            } else if choice < 90 && (shown.is_some() || !is_optional) {
                let mut body = self.app.part_body(choice);
                body["_attachments"] = self.clients[client].db.shown(&part).unwrap_or_default()["_attachments"].clone();
                self.attach(client, &part, &mut body, choice);
                return self.author(client, &part, Some(body));
            }
        }
        if choice > 235 && shown.is_some() {
            return self.author(client, &main, None);
        }
        let mut body = self.app.edited(version, shown, choice, format!("t{}", self.written));
        self.attach(client, &main, &mut body, choice);
        self.author(client, &main, Some(body));
    }

    /// One edit in three adds, replaces or deletes one of two attachments, as its number tells.
    fn attach(&self, client: usize, id: &str, body: &mut Value, choice: u8) {
        let mut attachments = body["_attachments"].as_object().cloned().unwrap_or_default();
        let name = ["a", "b"][pick(choice / 3, 2)];
        let winner = self.clients[client].db.tree(id).winner();
        let generation = winner.map_or(0, |rev| rev.generation()) + 1;
        let digest = format!("md5-{}", self.written);
        let attachment =
            json!({"content_type": "image/png", "revpos": generation, "digest": digest, "length": 1, "stub": true});
        match choice {
            _ if !choice.is_multiple_of(3) => {}
            _ if pick(choice / 6, 3) == 0 => drop(attachments.shift_remove(name)),
            _ => drop(attachments.insert(name.to_owned(), attachment)),
        }
        body["_attachments"] = attachments.into();
    }

    /// A client deletes all but one branch of each of its documents: the winner, where proxies race or a part need not exist. What it
    /// pushes is fanned out when all of it has arrived, after each deletion, or by proxies that race.
    fn resolve(&mut self, client: usize, [order, fan_out]: [u8; 2], choices: [u8; 2]) {
        self.pull(client);
        let Client { version, server, .. } = self.clients[client];
        let ids = [Some(self.app.main(version)), self.app.part(version)];
        let mut ids: Vec<String> = ids.into_iter().flatten().map(str::to_owned).collect();
        if order.is_multiple_of(2) {
            ids.reverse();
        }
        for id in ids {
            let tree = self.clients[client].db.tree(&id);
            let mut leaves = tree.live();
            let winner = tree.winner().filter(|_| fan_out == 2 || self.app.is_optional());
            let choice = choices[usize::from(id == self.app.main(version))];
            if let Some(kept) = winner.or(leaves.get(pick(choice, leaves.len().max(1))).cloned()) {
                leaves.retain(|leaf| *leaf != kept);
            }
            for leaf in leaves {
                self.append(client, &id, tree.path(&leaf), None);
                if fan_out > 0 {
                    self.push(client);
                    let writes = self.servers[server].missing(self.proxy(server)).writes;
                    self.late.push((server, writes));
                }
                if fan_out == 1 {
                    self.land(0);
                }
            }
        }
        self.push(client);
        self.reconcile(server);
    }

    /// What a proxy of this server knows.
    pub fn proxy(&self, server: usize) -> &App {
        if self.is_merging[server] {
            &self.merging
        } else {
            &self.app
        }
    }

    /// A proxy looks, and writes what is missing.
    pub fn reconcile(&mut self, server: usize) -> bool {
        let app = if self.is_merging[server] {
            &self.merging
        } else {
            &self.app
        };
        self.servers[server].reconcile(app)
    }

    pub fn pull(&mut self, client: usize) {
        let Client { version, db, server } = &mut self.clients[client];
        self.servers[*server].replicate_to(db, &self.app.sees(*version));
    }

    pub fn push(&mut self, client: usize) {
        let Client { db, server, .. } = &self.clients[client];
        db.replicate_to(&mut self.servers[*server], &self.app.all());
    }

    pub fn land(&mut self, choice: u8) {
        if !self.late.is_empty() {
            let (server, writes) = self.late.swap_remove(usize::from(choice) % self.late.len());
            self.servers[server].land(&writes);
        }
    }

    /// One client at a time: pull, edit, push, fan out.
    pub fn turn(&mut self, client: usize, choice: u8) {
        self.pull(client);
        self.edit(client, choice);
        self.push(client);
        let server = self.clients[client].server;
        self.reconcile(server);
    }

    /// Everything that is under way arrives, until nothing moves. Panics if that never happens.
    pub fn settle(&mut self) {
        while !self.late.is_empty() {
            self.land(0);
        }
        for _ in 0..50 {
            let mut moved = false;
            for Client { db, server, .. } in &self.clients {
                moved |= db.replicate_to(&mut self.servers[*server], &self.app.all());
            }
            for server in 0..self.servers.len() {
                moved |= self.reconcile(server);
            }
            for a in 0..self.servers.len() {
                for b in 0..self.servers.len() {
                    let from = self.servers[a].clone();
                    moved |= a != b && from.replicate_to(&mut self.servers[b], &self.app.all());
                }
            }
            for client in 0..self.clients.len() {
                let Client { version, db, server } = &mut self.clients[client];
                moved |= self.servers[*server].replicate_to(db, &self.app.sees(*version));
            }
            if !moved {
                return;
            }
        }
        panic!("does not come to rest");
    }

    pub fn conflicts(&self, server: usize) -> Vec<&str> {
        self.app
            .all()
            .into_iter()
            .filter(|id| self.servers[server].live(id) > 1)
            .collect()
    }

    pub fn assert_masters_agree(&self) -> Result<(), TestCaseError> {
        let [a, b] = [0, 1].map(|n| self.servers[n].replicable());
        let lines = |db: &Db| format!("{db:#?}").lines().map(str::to_owned).collect::<Vec<_>>();
        let (la, lb) = (lines(&a), lines(&b));
        let only = |x: &[String], y: &[String]| x.iter().filter(|line| !y.contains(line)).cloned().collect::<Vec<_>>();
        prop_assert!(
            a == b,
            "masters differ: {:#?} {:#?} in {a:#?}",
            only(&la, &lb),
            only(&lb, &la)
        );
        Ok(())
    }

    /// Every authored edit is in every document that it reaches.
    pub fn assert_nothing_lost(&self) -> Result<(), TestCaseError> {
        self.servers
            .iter()
            .try_for_each(|server| self.assert_nothing_lost_in(server))
    }

    fn assert_nothing_lost_in(&self, db: &Db) -> Result<(), TestCaseError> {
        // A version that waits for a document carries nothing yet.
        if self.app.is_waiting(db) {
            return Ok(());
        }
        for (id, rev, body) in &self.authored {
            for target in self.app.reached(id) {
                // A part is not made of what says nothing to it, or no longer does.
                let has_street = body.as_ref().is_some_and(|body| !body["street"].is_null());
                if self.app.is_optional_part(target) && !(has_street && db.tree(id).tells(id, rev)) {
                    continue;
                }
                let holds = db.tree(target).parent.keys().any(|r| EditId::of(r) == EditId::of(rev));
                prop_assert!(holds, "{target} lacks {rev}, authored in {id}: {db:#?}");
            }
        }
        Ok(())
    }
}

pub fn pick(choice: u8, of: usize) -> usize {
    usize::from(choice) % of
}

proptest! {
    /// Edits made one after another, in any mix of versions, never conflict, and all versions agree after each.
    #[test]
    fn sequential_edits_give_one_leaf_everywhere(kind in kinds(), acts in acts(25), merging in any::<[bool; 2]>()) {
        let mut world = World::new(kind, merging, 1, &[1, 2, 3]);
        for [who, what, _] in acts {
            world.turn(pick(who, 3), what);
            prop_assert!(world.conflicts(0).is_empty(), "{:#?}", world.servers[0]);
            world.app.assert_agreement(&world.servers[0])?;
            world.assert_nothing_lost()?;
        }
    }

    /// The same with histories cut to their last few revisions, and compacted, at any time. Clients keep up: one that is further
    /// behind than `_revs_limit` makes conflicts of its own, with or without us.
    #[test]
    fn stemmed_and_compacted_histories_stay_in_step(kind in kinds(), acts in acts(60), limit in 4usize..14, merging in any::<[bool; 2]>()) {
        let mut world = World::new(kind, merging, 1, &[1, 2, 3]);
        for [who, what, upkeep] in acts {
            world.turn(pick(who, 3), what);
            (0..3).for_each(|client| world.pull(client));
            if upkeep % 2 == 0 {
                world.servers[0].0.values_mut().for_each(|tree| tree.stem(limit));
            }
            if upkeep % 3 == 0 {
                world.servers[0].0.values_mut().for_each(|tree| tree.compact());
            }
            prop_assert!(world.conflicts(0).is_empty(), "{:#?}", world.servers[0]);
            world.app.assert_agreement(&world.servers[0])?;
        }
    }

    /// Proxies that race with stale reads leave no conflict that no client made: here one version's clients edit one after
    /// another, so that any conflict is false.
    #[test]
    fn racing_proxies_leave_no_false_conflict(kind in kinds(), acts in acts(15), version in 1usize..4, after in acts(5), merging in any::<[bool; 2]>()) {
        let mut world = World::new(kind, merging, 1, &[version, 1, 2, 3]);
        for [what, _, land] in acts {
            world.pull(0);
            world.edit(0, what);
            world.push(0);
            let writes = world.servers[0].missing(world.proxy(0)).writes;
            world.late.push((0, writes));
            (0..land % 4).for_each(|n| world.land(land.wrapping_add(n)));
        }
        world.settle();
        prop_assert!(world.conflicts(0).is_empty(), "{:?} {:#?}", world.conflicts(0), world.servers[0]);
        world.app.assert_agreement(&world.servers[0])?;
        world.assert_nothing_lost()?;
        // Nor do they leave anything that makes a conflict of what is written next, unless it brings back what was deleted.
        for [who, what, _] in after {
            if world.servers[0].live(world.app.sees(3)[0]) == 0 {
                break;
            }
            world.turn(1 + pick(who, 3), what);
            prop_assert!(world.conflicts(0).is_empty(), "{:?} {:#?}", world.conflicts(0), world.servers[0]);
            world.app.assert_agreement(&world.servers[0])?;
        }
    }

    /// Two masters, six offline clients, stale and crashing proxies: it comes to rest, the masters hold the same trees, and no edit
    /// is missing from a document that it must reach.
    #[test]
    fn masters_converge_and_nothing_is_lost(kind in kinds(), acts in acts(25), merging in any::<[bool; 2]>()) {
        let mut world = World::new(kind, merging, 2, &[1, 2, 3, 1, 2, 3]);
        world.edit(0, 1);
        world.settle();
        for [who, act, choice] in acts {
            let client = pick(who, 6);
            match act % 20 {
                0..=8 => world.edit(client, choice),
                9..=13 => {
                    world.push(client);
                    let server = world.clients[client].server;
                    let writes = world.servers[server].missing(world.proxy(server)).writes;
                    if choice > 25 {
                        world.late.push((server, writes));
                    }
                }
                14..=16 => world.pull(client),
                _ => {
                    let from = world.servers[pick(choice, 2)].clone();
                    from.replicate_to(&mut world.servers[1 - pick(choice, 2)], &world.app.all());
                }
            }
            if choice % 5 > 1 {
                world.land(choice);
            }
        }
        world.settle();
        world.assert_masters_agree()?;
        world.assert_nothing_lost()?;
        world.app.assert_agreement(&world.servers[0])?;
    }

    /// A device that holds only its newest classes restores them to a fresh server, where work goes on; then the two servers meet.
    #[test]
    fn a_restored_device_brings_everything_back(kind in kinds(), before in acts(10), after in acts(8), merging in any::<[bool; 2]>()) {
        let mut world = World::new(kind, merging, 2, &[1, 2, 3, 1, 2, 3]);
        for (n, client) in world.clients.iter_mut().enumerate() {
            client.server = n / 3;
        }
        for [who, what, _] in before {
            world.turn(pick(who, 3), what);
        }
        world.pull(2);
        let device = world.clients[2].db.clone();
        device.replicate_to(&mut world.servers[1], &world.app.all());
        world.reconcile(1);
        world.app.assert_agreement(&world.servers[1])?;
        for id in world.app.mains() {
            prop_assert!(world.servers[0].live(id) == 0 || world.servers[1].live(id) > 0, "{id} is not back");
        }
        for [who, what, _] in after {
            world.turn(3 + pick(who, 3), what);
        }
        world.settle();
        world.assert_masters_agree()?;
        prop_assert!(world.conflicts(1).is_empty(), "{:#?}", world.servers[1]);
        world.app.assert_agreement(&world.servers[1])?;
    }

    /// Concurrent edits are a conflict in every version, all versions have the same winner, and resolving it in any version
    /// resolves it in all.
    #[test]
    fn conflicts_are_mirrored_and_so_are_their_resolutions(
        kind in kinds(), before in acts(5), a in 1usize..4, b in 1usize..4, edits in acts(5), resolver in 0usize..2, at in 0usize..3, merging in any::<[bool; 2]>()
    ) {
        let mut world = World::new(kind, merging, 1, &[1, 2, 3, a, b]);
        world.turn(0, 1);
        // Groups are there, so that nobody makes them twice: of these conflicts each document has its own.
        world.turn(2, 201);
        for [who, what, _] in before {
            world.turn(pick(who, 3), what.clamp(8, 235));
        }
        world.pull(3);
        world.pull(4);
        // Titles only: edits of two documents do not conflict.
        for [who, _, _] in edits {
            world.edit(3 + pick(who, 2), 201);
        }
        world.edit(3, 203);
        world.edit(4, 203);
        let conflicting = [3, 4];
        for client in conflicting {
            world.push(client);
            world.reconcile(0);
        }
        for id in world.app.mains() {
            prop_assert_eq!(world.servers[0].live(id), 2, "{} {:#?}", id, world.servers[0]);
        }
        world.app.assert_agreement(&world.servers[0])?;
        let resolver = if resolver == 0 { at } else { conflicting[at % 2] };
        world.pull(resolver);
        let id = world.app.main(world.clients[resolver].version).to_owned();
        let tree = world.clients[resolver].db.tree(&id);
        let winner = tree.winner().unwrap();
        for leaf in tree.live().into_iter().filter(|leaf| *leaf != winner) {
            world.append(resolver, &id, tree.path(&leaf), None);
        }
        if at == 0 {
            world.edit(resolver, 201);
        }
        world.push(resolver);
        world.reconcile(0);
        for id in world.app.all().into_iter().filter(|id| !world.app.is_optional_part(id)) {
            prop_assert!(world.servers[0].live(id) > 0, "{id} is gone: {:#?}", world.servers[0]);
        }
        prop_assert!(world.conflicts(0).is_empty(), "{:?} {:#?}", world.conflicts(0), world.servers[0]);
        world.app.assert_agreement(&world.servers[0])?;
    }

    /// Whoever resolves all that is in conflict in the documents of one version, as it shows them, resolves it in all, for good.
    #[test]
    fn whoever_resolves_all_in_one_version_resolves_it_in_all(
        kind in kinds(), before in acts(4), versions in vec(1usize..4, 3), acts in acts(20), resolver in 0usize..3, how in any::<[u8; 2]>(), choices in any::<[u8; 2]>(), merging in any::<[bool; 2]>(), is_there in any::<bool>()
    ) {
        let mut world = World::new(kind, merging, 1, &[1, 2, 3, versions[0], versions[1], versions[2]]);
        // Or several create it without knowing of each other.
        let is_there = is_there || kind == Kind::Share;
        if is_there {
            world.turn(0, 1);
            // Groups are there, so that nobody makes them twice: of these conflicts each document has its own.
            world.turn(2, 201);
            for [who, what, _] in before {
                world.turn(pick(who, 3), what.clamp(8, 235));
            }
        }
        world.settle();
        for [who, what, act] in acts {
            let client = 3 + pick(who, 3);
            match act % 8 {
                0..=4 => world.edit(client, what.clamp(8, 235)),
                5 => world.pull(client),
                _ => {
                    world.push(client);
                    world.reconcile(0);
                }
            }
        }
        world.settle();
        if is_there {
            world.app.assert_agreement(&world.servers[0])?;
        }
        // Proxies that look in between merge what is being resolved.
        let races = if merging[0] { 1 } else { 3 };
        world.resolve(resolver, [how[0], how[1] % races], choices);
        world.settle();
        let mut conflicts = world.conflicts(0);
        // Of a group those who embed it do not know that it is in conflict, and those who see documents merged may not know it of a part.
        let mains = world.app.mains();
        let is_shown = |id: &str| mains.contains(&id) || !merging[0] && !id.starts_with("group");
        conflicts.retain(|id| is_shown(id));
        prop_assert!(conflicts.is_empty(), "{conflicts:?} {:#?}", world.servers[0]);
        world.app.assert_agreement(&world.servers[0])?;
    }

    /// Whatever part of a fan-out arrives, looking again leads to the same trees; and looking at a settled
    /// entity finds nothing.
    #[test]
    fn a_torn_fan_out_is_mended(kind in kinds(), acts in acts(12), order in vec(any::<u8>(), 4), merging in any::<[bool; 2]>()) {
        let mut world = World::new(kind, merging, 1, &[1, 2, 3]);
        // People edit what exists.
        world.edit(0, 1);
        world.settle();
        let (last, acts) = acts.split_last().unwrap();
        for [who, what, _] in acts {
            if what % 3 == 0 { world.turn(pick(*who, 3), *what) } else { world.edit(pick(*who, 3), *what) }
        }
        world.edit(pick(last[0], 3), last[1]);
        (0..3).for_each(|client| world.push(client));
        let mut whole = world.servers[0].clone();
        let writes = whole.missing(world.proxy(0)).writes;
        whole.land(&writes);
        prop_assert!(whole.missing(world.proxy(0)).writes.is_empty(), "not idempotent: {whole:#?}");
        let mut torn = world.servers[0].clone();
        // A batch may arrive in part, but what it holds of one document arrives at once, and after what it refers to.
        let (referred_to, rest): (Vec<Write>, Vec<Write>) = writes.into_iter().partition(|write| write.is_referred_to);
        if referred_to.is_empty() || order[0] % 4 > 0 {
            torn.land(&referred_to);
            for (id, n) in world.app.all().into_iter().zip(order.into_iter().cycle()) {
                if n % 3 > 0 {
                    torn.land(&rest.iter().filter(|write| write.id == id).cloned().collect::<Vec<_>>());
                }
            }
        }
        torn.reconcile(world.proxy(0));
        // Of a merge that arrived in an older version alone, that version speaks until the newest has it too.
        if world.is_merging[0] {
            torn.reconcile(world.proxy(0));
        }
        let again = torn.missing(world.proxy(0)).writes;
        prop_assert!(again.is_empty(), "not idempotent when torn: {again:#?} in {torn:#?}");
        world.assert_nothing_lost_in(&torn)?;
        world.assert_nothing_lost_in(&whole)?;
        // Racing orders may branch otherwise; what is shown agrees all the same.
        for db in [&torn, &whole] {
            world.app.assert_agreement(db)?;
        }
    }
}
