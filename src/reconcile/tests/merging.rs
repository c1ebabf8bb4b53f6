//! Fields merged where a class asks for it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    apps::{App, Kind, Topic},
    couch_model::Db,
    histories::{World, acts, pick},
};
use crate::{
    couch::Rev,
    schema::{Class, Registry},
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

/// Those in which each topic is written down in one document.
fn kinds() -> impl Strategy<Value = Kind> {
    super::apps::kinds().prop_filter("groups of several todos", |kind| *kind != Kind::Share)
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
    /// seem to change one field: then the conflict stays, and everything is told in it. So it is seen, once in some thousand histories, of a part
    /// that need not exist.
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
        if kind != Kind::Split && !world.conflicts(0).is_empty() {
            world.assert_told(topics, &written)?;
        } else {
            world.assert_merged(topics, &written)?;
        }
    }
}

/// A todo as a phone and a laptop had it before they went offline, and what both have written since, carried by a proxy.
struct Offline {
    app: App,
    db: Db,
}

impl Offline {
    fn new() -> Self {
        let app = App::new(Kind::Split).merging_fields();
        let mut db = Db::default();
        let base = Rev::new(1, &"1".repeat(32));
        db.write(
            &app.ids[0],
            &[base],
            Some(json!({"title": "a", "isDone": false}).to_string()),
        );
        db.reconcile(&app);
        Self { app, db }
    }

    /// The one revision that a document has.
    fn shared(&self, place: usize) -> Rev {
        self.db.tree(&self.app.ids[place]).winner().unwrap()
    }

    fn write(&mut self, place: usize, base: &Rev, hash: &str, body: Value) -> Rev {
        let id = self.app.ids[place].clone();
        let rev = Rev::new(base.generation() + 1, &hash.repeat(32));
        let path = [vec![rev.clone()], self.db.tree(&id).path(base)].concat();
        self.db.write(&id, &path, Some(body.to_string()));
        rev
    }

    fn assert_live(&self, expected: [usize; 4]) {
        let live: Vec<usize> = self.app.ids.iter().map(|id| self.db.live(id)).collect();
        assert_eq!(live, expected, "{:#?}", self.db);
    }
}

/// Places in the entity.
const TODO_1: usize = 0;
const TODO_3: usize = 2;
const STATUS: usize = 3;

#[test]
fn without_the_ancestor_nothing_is_merged() {
    for is_compacted in [false, true] {
        let mut todo = Offline::new();
        let [one, three] = [todo.shared(TODO_1), todo.shared(TODO_3)];
        todo.write(TODO_1, &one, "4", json!({"title": "b", "isDone": false}));
        todo.write(TODO_3, &three, "8", json!({"title": "a", "group": "work"}));
        if is_compacted {
            todo.db.0.values_mut().for_each(|tree| tree.compact());
        }
        todo.db.reconcile(&todo.app);
        todo.assert_live(if is_compacted { [2, 2, 2, 1] } else { [1; 4] });
        assert!(!todo.db.reconcile(&todo.app), "it comes to rest");
    }
}

/// Each of two edits fits the class, and what they make together does not.
#[test]
fn what_does_not_fit_its_class_is_not_made() {
    for misfit in [TODO_1, TODO_3] {
        let mut todo = Offline::new();
        let classes = todo.app.registry.classes().map(|(id, class)| {
            let both = match misfit {
                TODO_3 => json!({"not": {"properties": {"title": {"const": "b"}, "group": {"const": "work"}}, "required": ["group"]}}),
                _ => json!({"not": {"properties": {"title": {"const": "b"}, "note": {"const": "n"}}, "required": ["note"]}}),
            };
            let is_it = id.0 == misfit;
            class.clone().with_definition(if is_it { both } else { json!(true) }).unwrap()
        });
        todo.app.registry = Registry::new(classes.collect(), todo.app.registry.steps().to_vec()).unwrap();
        let [one, three] = [todo.shared(TODO_1), todo.shared(TODO_3)];
        todo.write(TODO_1, &one, "4", json!({"title": "b", "isDone": false}));
        todo.write(TODO_3, &three, "8", json!({"title": "a", "group": "work", "note": "n"}));
        let outcome = todo.db.missing(&todo.app);
        assert!(outcome.refusals.is_empty(), "{outcome:#?}");
        todo.db.land(&outcome.writes);
        todo.assert_live([2, 2, 2, 1]);
        assert!(!todo.db.reconcile(&todo.app), "it comes to rest");
    }
}

/// One document of the first version is two of the third: where one of them is not merged, neither is the other.
#[test]
fn a_conflict_is_merged_in_all_of_the_newest_documents_or_in_none() {
    for (is_status_merging, expected) in [(true, [1; 4]), (false, [2; 4])] {
        let mut todo = Offline::new();
        let classes = todo.app.registry.classes().map(|(id, class)| Class {
            merges_fields: class.merges_fields && (is_status_merging || id.0 != STATUS),
            ..class.clone()
        });
        todo.app.registry = Registry::new(classes.collect(), todo.app.registry.steps().to_vec()).unwrap();
        let one = todo.shared(TODO_1);
        todo.write(TODO_1, &one, "4", json!({"title": "b", "isDone": false}));
        todo.write(TODO_1, &one, "8", json!({"title": "a", "isDone": true}));
        todo.db.reconcile(&todo.app);
        todo.assert_live(expected);
        assert!(!todo.db.reconcile(&todo.app), "it comes to rest");
    }
}

/// What only the first version knows was changed on one side: the other would end it, or be ended by it.
#[test]
fn what_only_an_older_version_knows_is_not_lost() {
    let mut todo = Offline::new();
    let steps = "
old: todo-item@2
new: todo-item@3
steps:
  - add: { field: group, value: default }
  - remove: { field: color, value: none }
";
    todo.app.lenses[1] = todo.app.lens(steps);
    let [one, three] = [todo.shared(TODO_1), todo.shared(TODO_3)];
    todo.write(
        TODO_1,
        &one,
        "4",
        json!({"title": "a", "isDone": false, "color": "red"}),
    );
    todo.write(TODO_3, &three, "8", json!({"title": "a", "group": "work"}));
    todo.db.reconcile(&todo.app);
    let tree = todo.db.tree(&todo.app.ids[TODO_1]);
    let is_red = |leaf: &Rev| tree.body[leaf].as_ref().is_some_and(|text| text.contains("red"));
    assert!(tree.live().iter().any(is_red), "{:#?}", todo.db);
    assert!(!todo.db.reconcile(&todo.app), "it comes to rest");
}
