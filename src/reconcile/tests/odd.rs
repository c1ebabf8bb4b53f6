//! Trees that no orderly client makes: whatever is read, reconciling comes to rest.

use proptest::{collection::vec, prelude::*};
use serde_json::json;

use super::{
    apps::{App, kinds},
    couch_model::Db,
};
use crate::couch::Rev;

const HASHES: [&str; 7] = ["0", "4", "8", "c", "f", "x", "A b/"];

/// Document, generation of the newest revision, its hash and its ancestors', whether it is deleted.
type Branch = (usize, u64, Vec<usize>, bool);

fn branches() -> impl Strategy<Value = Vec<Branch>> {
    vec((0..4usize, 1..6u64, vec(0..HASHES.len(), 1..6), any::<bool>()), 1..12)
}

/// Documents may share edits, as they do that were in several versions before there was a proxy.
fn rev(generation: u64, hash: usize, id: usize, is_shared: bool) -> Rev {
    match HASHES[hash] {
        digit if digit.len() == 1 && digit != "x" => {
            let place = generation * 16 + if is_shared { 0 } else { id as u64 };
            Rev::new(generation, &format!("{place:04x}{}", digit.repeat(28)))
        }
        odd => Rev::new(generation, odd),
    }
}

proptest! {
    #[test]
    fn whatever_is_read_comes_to_rest(kind in kinds(), branches in branches(), shared in any::<bool>(), torn in vec(any::<bool>(), 12)) {
        let app = App::new(kind);
        let mut db = Db::default();
        for (n, (id, generation, hashes, deleted)) in branches.into_iter().enumerate() {
            let path: Vec<Rev> = (1..=generation).rev().zip(hashes).map(|(g, hash)| rev(g, hash, id, shared)).collect();
            let body = json!({"title": n, "name": n, "isDone": n % 2 == 0, "status": "done", "street": n, "group": n});
            db.write(&app.ids[id], &path, (!deleted).then(|| body.to_string()));
            let writes = db.missing(&app).writes;
            if torn[n % 12] {
                db.land(&writes);
            }
        }
        for _ in 0..6 {
            if !db.reconcile(&app) {
                return Ok(());
            }
        }
        let writes: Vec<String> = db.missing(&app).writes.iter().map(|w| format!("{} {:?} {:?}", w.id, w.path, w.body.is_some())).collect();
        prop_assert!(writes.is_empty(), "does not come to rest: {writes:#?} in {db:#?}");
    }
}
