//! Whatever stands in an entity's trees, with parts of fan-outs among it: reconciling comes to rest, and a second look finds nothing.
#![no_main]

use std::sync::{Arc, LazyLock};

use chesterfield::{
    config::Schemas,
    couch::{Document, NodeId, Rev},
    reconcile::{Body, Entity, reconcile},
    schema::Registry,
};
use chesterfield_fuzz::{Bytes, schemas};
use libfuzzer_sys::fuzz_target;

static SCHEMAS: LazyLock<Vec<Schemas>> = LazyLock::new(schemas);

const TITLES: [&str; 4] = ["milk", "bread", "rye bread", ""];
const STATUS: [&str; 4] = ["active", "done", "blocked", "other"];

fn blank(registry: &Registry) -> Entity {
    let (class, key) = registry.classify("todo-item:k:v:1").expect("the todo app");
    Entity::new(registry, class, key).expect("its todos are in versions")
}

/// Fields for every class of the todo app at once: lenses take what they know.
fn body(bytes: &mut Bytes) -> Body {
    let choice = bytes.next();
    if choice.is_multiple_of(5) {
        return Body::Tombstone;
    }
    let [a, b, c] = [choice, choice >> 2, choice >> 4].map(|n| usize::from(n) % 4);
    let text = format!(
        r#"{{"title":"{}","isDone":{},"status":"{}","group":"{}"}}"#,
        TITLES[a],
        b % 2 == 0,
        STATUS[b],
        TITLES[c]
    );
    let document: Document = serde_json::from_str(&text).expect("JSON");
    Body::Live(Arc::new(document))
}

fuzz_target!(|data: &[u8]| {
    // Larger ones are what the timing tests are for.
    if data.len() > 96 {
        return;
    }
    let mut bytes = Bytes(data);
    let Schemas { registry, lenses, .. } = &SCHEMAS[0];
    let mut entity = blank(registry);
    let mut count = 0u32;
    while !bytes.is_over() {
        count += 1;
        let choice = bytes.next();
        let place = usize::from(choice >> 1) % entity.members.len();
        if choice & 1 == 1 && choice >= 128 {
            // A fan-out of which some writes arrive.
            let mut seen = entity.clone();
            let writes = reconcile(registry, lenses, &mut seen).writes;
            let mut arrives = bytes.next();
            for write in writes {
                arrives = arrives.rotate_right(1);
                if arrives & 1 == 1
                    && let Some(place) = entity.position(&write.id)
                {
                    let body = write.body.map_or(Body::Tombstone, Body::Live);
                    entity.members[place].insert(&write.path, body, Body::Missing);
                }
            }
            continue;
        }
        let member = &mut entity.members[place];
        let nodes: Vec<NodeId> = member.tree.nodes().collect();
        let parent = bytes.below(nodes.len() + 1);
        let mut path = nodes.get(parent).map(|&node| member.revs(node)).unwrap_or_default();
        let generation = path.first().map_or(0, Rev::generation) + 1;
        path.insert(0, Rev::new(generation, &format!("{:02x}{count:030x}", bytes.next())));
        let body = body(&mut bytes);
        member.insert(&path, body, Body::Missing);
    }
    let outcome = reconcile(registry, lenses, &mut entity);
    assert!(!outcome.is_restless, "it does not come to rest");
    let again = reconcile(registry, lenses, &mut entity);
    assert!(again.writes.is_empty(), "not idempotent: {:?}", again.writes);
});
