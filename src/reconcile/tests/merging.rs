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

proptest! {
    /// Three clients of any versions, each at a topic of its own and offline, before two masters of which one or both merge: whatever
    /// arrives when, no conflict is left in any version, and every version shows what all have written.
    #[test]
    fn edits_of_different_fields_leave_no_conflict(
        kind in kinds(), versions in versions(), acts in acts(14), is_alone in any::<bool>(), swapped in any::<bool>()
    ) {
        let mut topics = Topic::ALL;
        topics[..2].rotate_left(usize::from(swapped));
        let mut world = World::shared(kind, [true, !is_alone], &versions);
        let mut written: [Option<Value>; 3] = [const { None }; 3];
        for (n, [who, act, choice]) in acts.into_iter().enumerate() {
            let client = 1 + pick(who, 3);
            match act % 8 {
                0..=3 => {
                    world.change(client, topics[client - 1], n + 1);
                    written[client - 1] = Some(world.shown(client, topics[client - 1]).unwrap());
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
        // Where the newest documents follow older ones, what a side has changed is there only on the server where it did.
        if is_alone && !world.conflicts(0).is_empty() && matches!(kind, Kind::Merge | Kind::MergeOptional) {
            return Ok(());
        }
        for server in 0..2 {
            prop_assert!(world.conflicts(server).is_empty(), "{:?} {:#?}", world.conflicts(server), world.servers[server]);
        }
        world.app.assert_agreement(&world.servers[0])?;
        for (n, expected) in written.into_iter().enumerate() {
            if let Some(expected) = expected {
                world.pull(n + 1);
                prop_assert_eq!(world.shown(n + 1, topics[n]), Some(expected), "{:?} {:#?}", topics[n], world.servers[0]);
            }
        }
    }
}
