//! Databases that held several versions of an entity before anybody carried between them: copies made by hand.

use proptest::{collection::vec, prelude::*, sample};

use super::{
    apps::{Kind, kinds},
    histories::{Act, World, acts, pick},
};

/// Who copies by hand: a client beside those of the three versions.
const HAND: usize = 3;

/// Apps in which every part has to exist.
fn whole() -> impl Strategy<Value = Kind> {
    sample::select(vec![Kind::Split, Kind::Merge, Kind::Share])
}

/// An entity that was written in one version and copied into the others, each copy a first revision of its own: nobody can tell that they
/// belong together. Some are edited before they are, each by itself.
fn copied(kind: Kind, merging: [bool; 2], servers: usize, before: &[Act], apart: &[Act]) -> World {
    let mut earlier = World::new(kind, [false; 2], 1, &[1, 2, 3]);
    earlier.turn(2, 201);
    for [who, what, _] in before {
        // What is deleted everywhere needs no copies.
        earlier.turn(pick(*who, 3), (*what).clamp(8, 235));
    }
    let mut world = World::new(kind, merging, servers, &[1, 2, 3, 3]);
    world.clients.iter_mut().for_each(|client| client.server = 0);
    let ids = world.app.ids.clone();
    for id in ids {
        if let Some(mut body) = earlier.servers[0].shown(&id) {
            // Bytes were not copied: an attachment names the revision that brought it.
            body.as_object_mut().unwrap().remove("_attachments");
            world.append(HAND, &id, Vec::new(), Some(body));
        }
    }
    world.push(HAND);
    for [who, what, _] in apart {
        let client = pick(*who, 3);
        world.pull(client);
        world.edit(client, attaching_nothing(*what));
        world.push(client);
    }
    world
}

/// What only an older version has attached stays its own.
fn attaching_nothing(what: u8) -> u8 {
    what - u8::from(what.is_multiple_of(3) && what > 0)
}

fn in_step(world: &World) -> Result<(), TestCaseError> {
    prop_assert!(
        world.conflicts(0).is_empty(),
        "{:?} {:#?}",
        world.conflicts(0),
        world.servers[0]
    );
    world.app.assert_agreement(&world.servers[0])?;
    world.assert_nothing_lost()
}

fn edit_in_step(world: &mut World, after: Vec<Act>) -> Result<(), TestCaseError> {
    for [who, what, _] in after {
        world.turn(pick(who, 3), what);
        in_step(world)?;
    }
    Ok(())
}

proptest! {
    /// Copies are no conflict, whether they say the same or not: what the newer one says counts in all, and what each had stands
    /// below that. Then they are in step.
    #[test]
    fn copies_are_brought_together(
        kind in kinds(), before in acts(6), apart in vec(any::<Act>(), 0..4), compacted in any::<bool>(), after in acts(10), merging in any::<[bool; 2]>()
    ) {
        let mut world = copied(kind, merging, 1, &before, &apart);
        if compacted {
            world.servers[0].0.values_mut().for_each(|tree| tree.compact());
        }
        let was = world.servers[0].clone();
        let writes = world.begin(0);
        world.servers[0].land(&writes);
        let now = &world.servers[0];
        in_step(&world)?;
        prop_assert!(now.missing(world.proxy(0)).writes.is_empty(), "not idempotent: {now:#?}");
        let newest = world.app.main(3);
        if was.live(newest) > 0 {
            prop_assert_eq!(now.shown(newest), was.shown(newest), "{:#?}", now);
        }
        for (id, tree) in &was.0 {
            let of = now.tree(id);
            let path = of.winner().map(|winner| of.path(&winner)).unwrap_or_default();
            prop_assert!(tree.winner().is_none_or(|was| path.contains(&was)), "{id}: {now:#?}");
        }
        edit_in_step(&mut world, after)?;
    }

    /// A document that is missing is made of those that are there.
    #[test]
    fn what_is_missing_is_made(kind in whole(), before in acts(6), missing in 0usize..4, after in acts(10), merging in any::<[bool; 2]>()) {
        let mut world = copied(kind, merging, 1, &before, &[]);
        // For a shared document that is missing whoever refers to it waits.
        let id = world.app.ids[missing % if kind == Kind::Share { 3 } else { 4 }].clone();
        world.servers[0].0.remove(&id);
        world.clients[HAND].db.0.remove(&id);
        let writes = world.begin(0);
        world.servers[0].land(&writes);
        in_step(&world)?;
        edit_in_step(&mut world, after)?;
    }

    /// A batch that brings copies together may arrive in part.
    #[test]
    fn what_was_torn_is_mended(
        kind in whole(), before in acts(6), apart in vec(any::<Act>(), 0..4), lost in any::<u8>(), after in acts(10), merging in any::<[bool; 2]>()
    ) {
        let mut world = copied(kind, merging, 1, &before, &apart);
        let mut writes = world.begin(0);
        let ids = world.app.ids.clone();
        writes.retain(|write| ids.iter().position(|id| *id == write.id).is_none_or(|n| lost >> n & 1 == 0));
        world.servers[0].land(&writes);
        let writes = world.begin(0);
        world.servers[0].land(&writes);
        in_step(&world)?;
        edit_in_step(&mut world, after)?;
    }

    /// Two masters that have the same copies, one without the bodies of older revisions, and stale proxies: they come to rest and agree. Nobody
    /// writes to a master before the copies have been brought together there.
    #[test]
    fn masters_that_both_adopt_agree(
        kind in whole(), before in acts(4), apart in vec(any::<Act>(), 0..4), acts in acts(10), merging in any::<[bool; 2]>()
    ) {
        let mut world = copied(kind, merging, 2, &before, &apart);
        let from = world.servers[0].clone();
        from.replicate_to(&mut world.servers[1], &world.app.all());
        let mut adopting = [0, 1].map(|server| Some(world.begin(server)));
        world.clients[1].server = 1;
        for [who, what, land] in acts {
            let client = pick(who, 3);
            let server = world.clients[client].server;
            if let Some(writes) = adopting[server].take() {
                world.servers[server].land(&writes);
            }
            world.pull(client);
            world.edit(client, attaching_nothing(what));
            world.push(client);
            let writes = world.servers[server].missing(world.proxy(server)).writes;
            world.late.push((server, writes));
            (0..land % 4).for_each(|n| world.land(land.wrapping_add(n)));
        }
        for (server, writes) in adopting.iter().enumerate().filter_map(|(n, writes)| Some((n, writes.as_ref()?))) {
            world.servers[server].land(writes);
        }
        world.settle();
        world.assert_masters_agree()?;
        world.app.assert_agreement(&world.servers[0])?;
    }
}
