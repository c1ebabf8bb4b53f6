//! Fields merged where a class asks for it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    apps::{Kind, Topic, kinds},
    histories::{World, acts, pick},
};

impl World {
    /// A todo or a contact that all have.
    fn shared(kind: Kind, merging: [bool; 2], versions: &[usize]) -> Self {
        let mut world = World::new(kind, merging, 2, &[&[1], versions].concat());
        world.change(0, Topic::Title, 0);
        world.change(0, Topic::Part, 0);
        world.settle();
        (0..world.clients.len()).for_each(|client| world.pull(client));
        world
    }

    /// What a client shows about a topic; none if its version knows nothing of it.
    fn shown(&self, client: usize, topic: Topic) -> Option<Value> {
        let (id, field) = self.app.place(self.clients[client].version, topic)?;
        Some(self.clients[client].db.shown(id).unwrap_or_default()[field].clone())
    }

    /// Writes about one topic, on top of what the client shows. The `n`th value is unlike the one before.
    fn change(&mut self, client: usize, topic: Topic, n: usize) {
        let (id, field) = self.app.place(self.clients[client].version, topic).unwrap();
        let id = id.to_owned();
        let mut body = self.clients[client].db.shown(&id).unwrap_or_else(|| json!({}));
        body[field] = match field {
            "isDone" => json!(n % 2 == 1),
            "status" => json!(["active", "done"][n % 2]),
            _ => json!(format!("{topic:?} {n}")),
        };
        self.author(client, &id, Some(body));
    }
}

fn versions() -> impl Strategy<Value = [usize; 3]> {
    // Only the newest version has groups.
    [1..4usize, 1..4usize, 3..4usize]
}

/// What clients have written last, each about a topic of its own.
type Written = [Option<Value>; 3];

impl World {
    /// No version has a conflict, and every version shows what all have written.
    fn assert_merged(&mut self, topics: [Topic; 3], written: &Written) -> Result<(), TestCaseError> {
        for (server, db) in self.servers.iter().enumerate() {
            prop_assert!(
                self.conflicts(server).is_empty(),
                "{:?} {:#?}",
                self.conflicts(server),
                db
            );
        }
        self.app.assert_agreement(&self.servers[0])?;
        for (n, expected) in written.iter().enumerate() {
            self.pull(n + 1);
            if expected.is_some() {
                let shown = self.shown(n + 1, topics[n]);
                prop_assert_eq!(&shown, expected, "{:?} {:#?}", topics[n], self.servers[0]);
            }
        }
        Ok(())
    }

    /// What each has written is shown by some side of a conflict.
    fn assert_told(&self, topics: [Topic; 3], written: &Written) -> Result<(), TestCaseError> {
        for (n, expected) in written.iter().enumerate() {
            let (id, field) = self.app.place(self.clients[n + 1].version, topics[n]).unwrap();
            let tree = self.servers[0].tree(id);
            let mut shown = tree.live().into_iter().filter_map(|leaf| tree.body[&leaf].clone());
            let tells = |text: String| serde_json::from_str::<Value>(&text).unwrap().get(field) == expected.as_ref();
            prop_assert!(
                expected.is_none() || shown.any(tells),
                "{:?} {:#?}",
                topics[n],
                self.servers[0]
            );
        }
        Ok(())
    }
}

proptest! {
    /// Three clients of any versions have written while they were offline, each about a topic of its own. Whoever comes back first:
    /// no conflict is left in any version, and every version shows what all have written.
    #[test]
    fn edits_of_different_fields_become_one(
        kind in kinds(), versions in versions(), edits in proptest::array::uniform3(1..3usize), order in Just([1, 2, 3]).prop_shuffle(), swapped in any::<bool>()
    ) {
        let mut topics = Topic::ALL;
        topics[..2].rotate_left(usize::from(swapped));
        let mut world = World::shared(kind, [true; 2], &versions);
        let mut written = Written::default();
        for client in 1..4 {
            for n in 1..=edits[client - 1] {
                world.change(client, topics[client - 1], n);
            }
            written[client - 1] = world.shown(client, topics[client - 1]);
        }
        for client in order {
            world.push(client);
            let server = world.clients[client].server;
            world.reconcile(server);
        }
        world.settle();
        world.assert_masters_agree()?;
        world.assert_nothing_lost()?;
        world.assert_merged(topics, &written)?;
    }

    /// The same while they go on writing, proxies race with stale reads, and masters of which one may not merge replicate now and then.
    ///
    /// Where a lens makes one document of several, what it makes of an edit may hold another that its author did not know, so that both
    /// seem to change one field: then the conflict stays, and everything is told in it.
    #[test]
    fn whatever_arrives_when(
        kind in kinds(), versions in versions(), acts in acts(14), is_alone in any::<bool>(), swapped in any::<bool>()
    ) {
        let mut topics = Topic::ALL;
        topics[..2].rotate_left(usize::from(swapped));
        let mut world = World::shared(kind, [true, !is_alone], &versions);
        let mut written = Written::default();
        for (n, [who, act, choice]) in acts.into_iter().enumerate() {
            let client = 1 + pick(who, 3);
            match act % 8 {
                0..=3 => {
                    world.change(client, topics[client - 1], n + 1);
                    written[client - 1] = world.shown(client, topics[client - 1]);
                }
                4..=6 => {
                    world.push(client);
                    let server = world.clients[client].server;
                    let writes = world.servers[server].missing(world.proxy(server)).writes;
                    world.late.push((server, writes));
                }
                _ => {
                    let from = world.servers[pick(choice, 2)].clone();
                    from.replicate_to(&mut world.servers[1 - pick(choice, 2)], &world.app.all());
                }
            }
            if choice % 3 > 0 {
                world.land(choice);
            }
        }
        world.settle();
        world.assert_masters_agree()?;
        world.assert_nothing_lost()?;
        if matches!(kind, Kind::Merge | Kind::MergeOptional) && !world.conflicts(0).is_empty() {
            world.assert_told(topics, &written)?;
        } else {
            world.assert_merged(topics, &written)?;
        }
    }
}
