//! Entities with long histories and many conflicts: time is bounded.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::apps::{App, Kind};
use crate::{
    couch::{Document, Rev},
    reconcile::{Body, Entity, reconcile},
    schema::ClassId,
};

fn hash(branch: u64, n: u64) -> String {
    let mix = |x: u64| {
        let x = (x ^ (x >> 31)).wrapping_mul(0x7fb5_d329_728e_a185);
        (x ^ (x >> 27)).wrapping_mul(0x81da_def4_bc2d_d44d)
    };
    format!("{:016x}{:016x}", mix(branch * 100_003 + n + 1), n)
}

fn insert(entity: &mut Entity, member: usize, path: &[Rev], text: &str) {
    let body = Body::Live(Arc::new(serde_json::from_str::<Document>(text).unwrap()));
    entity.members[member].insert(path, body, Body::Missing);
}

/// Branches of the first document, each with a history of its own behind the fork.
fn branched(app: &App, revs: u64, branches: u64, fork: u64) -> Entity {
    let mut entity = Entity::new(&app.registry, ClassId(0), "k").unwrap();
    for branch in 1..=branches {
        let revs = (1..=revs).rev();
        let path: Vec<Rev> = revs
            .map(|n| Rev::new(n, &hash(if n <= fork { 0 } else { branch }, n)))
            .collect();
        insert(
            &mut entity,
            0,
            &path,
            &format!(r#"{{"title":"{branch}","isDone":false}}"#),
        );
    }
    entity
}

fn settles_within(limit: Duration, app: &App, entity: &mut Entity) {
    let start = Instant::now();
    reconcile(&app.registry, &app.lenses, entity);
    let again = reconcile(&app.registry, &app.lenses, entity);
    assert!(again.writes.is_empty(), "not idempotent");
    assert!(start.elapsed() < limit, "{:?}", start.elapsed());
}

/// Limits are a hundred times what it takes without optimisation: they tell quadratic from linear.
#[test]
fn many_conflicts_on_long_histories_are_mirrored_in_time() {
    let app = App::new(Kind::Split);
    let mut entity = branched(&app, 500, 20, 490);
    settles_within(Duration::from_secs(60), &app, &mut entity);
    assert!(entity.members.iter().all(|member| member.tree.live().count() == 20));
}

/// Sides that have each changed a field of their own become one, and sides of one field are all compared.
#[test]
fn many_sides_are_merged_in_time() {
    let app = App::new(Kind::Split).merging_fields();
    for is_clashing in [false, true] {
        let mut entity = branched(&app, 500, 0, 0);
        let path = |branch| -> Vec<Rev> {
            let revs = (1..=500).rev();
            revs.map(|n| Rev::new(n, &hash(if n <= 490 { 0 } else { branch }, n)))
                .collect()
        };
        let base = path(0).split_off(10);
        insert(&mut entity, 0, &base, r#"{"title":"","isDone":false}"#);
        assert!(reconcile(&app.registry, &app.lenses, &mut entity).wants.is_empty());
        for branch in 1..=20 {
            let body = match is_clashing {
                true => format!(r#"{{"title":"{branch}","isDone":false}}"#),
                false => format!(r#"{{"title":"","isDone":false,"{branch}":true}}"#),
            };
            insert(&mut entity, 0, &path(branch), &body);
        }
        settles_within(Duration::from_secs(60), &app, &mut entity);
        let live: Vec<usize> = entity.members.iter().map(|member| member.tree.live().count()).collect();
        assert_eq!(live, [if is_clashing { 20 } else { 1 }; 4]);
    }
}

#[test]
fn thousands_of_conflicts_are_mirrored_in_time() {
    let app = App::new(Kind::Split);
    let mut entity = branched(&app, 2, 1000, 1);
    settles_within(Duration::from_secs(60), &app, &mut entity);
    assert!(entity.members.iter().all(|member| member.tree.live().count() == 1000));
}

/// Each branch of a todo is put together with the status that goes with it.
#[test]
fn thousands_of_conflicts_in_two_parts_are_put_together_in_time() {
    let app = App::new(Kind::Split);
    let mut entity = Entity::new(&app.registry, ClassId(0), "k").unwrap();
    for (member, text) in [(1, r#"{"title":"a"}"#), (3, r#"{"status":"active"}"#)] {
        for branch in 1..=1000 {
            let path = [
                Rev::new(2, &hash(branch, 2 + member)),
                Rev::new(1, &hash(0, 1 + member)),
            ];
            insert(&mut entity, member as usize, &path, text);
        }
    }
    settles_within(Duration::from_secs(60), &app, &mut entity);
    assert!(entity.members[0].tree.live().count() >= 1000);
}

#[test]
fn a_history_of_any_length_is_carried_in_time() {
    let app = App::new(Kind::Split);
    let mut entity = branched(&app, 30_000, 1, 0);
    settles_within(Duration::from_secs(60), &app, &mut entity);
    assert_eq!(entity.members[2].tree.nodes().count(), 30_000);
}

/// A branch is made longer so that all versions show the same, but not to a length that a client makes up.
#[test]
fn a_generation_that_a_client_makes_up_is_not_counted_to() {
    let app = App::new(Kind::Split);
    let mut entity = Entity::new(&app.registry, ClassId(0), "k").unwrap();
    let high = Rev::new(Rev::LAST_GENERATION, &"1".repeat(32));
    insert(&mut entity, 1, &[high], r#"{"title":"a"}"#);
    insert(&mut entity, 1, &[Rev::new(1, &"2".repeat(32))], r#"{"title":"b"}"#);
    settles_within(Duration::from_secs(60), &app, &mut entity);
    assert_eq!(entity.members[2].tree.live().count(), 2);
}

#[test]
#[ignore = "prints how long things take; run with --release --nocapture"]
fn timing() {
    for (revs, branches, fork) in [
        (1000, 1, 0),
        (1000, 10, 990),
        (1000, 50, 990),
        (50, 50, 1),
        (1000, 10, 1),
        (1000, 50, 1),
        (2, 1000, 1),
        (2, 10_000, 1),
    ] {
        let app = App::new(Kind::Split);
        let mut entity = branched(&app, revs, branches, fork);
        for look in ["first", "second"] {
            let start = Instant::now();
            let writes = reconcile(&app.registry, &app.lenses, &mut entity).writes.len();
            let took = start.elapsed();
            std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("{branches} branches of {revs} from {fork}, {look} look: {took:?}, {writes} writes\n"),
            )
            .unwrap();
        }
    }
}
