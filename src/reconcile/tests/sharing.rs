//! What must hold of shared documents beyond what holds of all histories.

use proptest::prelude::*;

use super::{
    apps::Kind,
    histories::{World, acts},
};

proptest! {
    /// Copies of a group that are older than its last edit neither bring back what it was nor make another one: here older versions
    /// edit titles alone.
    #[test]
    fn stale_copies_change_nothing(acts in acts(20), merging in any::<[bool; 2]>()) {
        let mut world = World::new(Kind::Share, merging, 1, &[1, 2, 3]);
        world.edit(0, 201);
        world.settle();
        let group = world.app.ids[3].clone();
        for [who, act, choice] in acts {
            let client = usize::from(who) % 3;
            match (client % 3, act % 3) {
                (2, _) => {
                    world.pull(client);
                    let body = world.app.group_body(choice);
                    world.author(client, &group, Some(body));
                }
                (_, 0) => world.pull(client),
                _ => world.edit(client, 201),
            }
            if client % 3 == 2 || act % 3 == 2 {
                world.push(client);
                world.reconcile(0);
            }
        }
        world.settle();
        let db = &world.servers[0];
        prop_assert_eq!(&db.shown(&world.app.ids[2]).unwrap()["groupId"], "a", "{:#?}", db);
        prop_assert!(!db.0.contains_key(&world.app.ids[4]) && !db.0.contains_key(&world.app.ids[5]), "{:#?}", db);
        world.app.assert_agreement(db)?;
    }
}
