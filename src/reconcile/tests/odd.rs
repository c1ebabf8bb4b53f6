//! Trees that no orderly client makes: whatever is read, reconciling comes to rest.

use proptest::{collection::vec, prelude::*};
use serde_json::json;

use super::{
    apps::{App, Kind, kinds},
    couch_model::Db,
};
use crate::{couch::Rev, schema::Registry};

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

/// Each of two edits alone fits the merged document's class, and both together do not.
#[test]
fn what_is_joined_has_to_fit_its_class() {
    let mut app = App::new(Kind::Merge);
    let classes = app.registry.classes().map(|(_, class)| {
        let both =
            json!({"properties": {"title": {"const": "b"}, "street": {"const": "b"}}, "required": ["title", "street"]});
        let definition = if class.name.schema.starts_with("contact") {
            json!({"not": both})
        } else {
            json!({})
        };
        class.clone().with_definition(definition).unwrap()
    });
    app.registry = Registry::new(classes.collect(), app.registry.steps().to_vec()).unwrap();
    let [person, address, contact] = [0, 1, 2].map(|n| app.ids[n].clone());
    let edit = |db: &mut Db, id: &str, n: u64, text: &str| {
        let path = db
            .tree(id)
            .winner()
            .map(|winner| db.tree(id).path(&winner))
            .unwrap_or_default();
        let rev = Rev::new(path.len() as u64 + 1, &format!("{n:04x}{}", "7".repeat(28)));
        db.write(id, &[&[rev], &*path].concat(), Some(text.to_owned()));
    };
    let mut db = Db::default();
    edit(&mut db, &person, 1, r#"{"title":"a"}"#);
    edit(&mut db, &address, 2, r#"{"street":"a"}"#);
    db.reconcile(&app);
    // Two proxies, each of which has seen one of the edits.
    let (mut left, mut right) = (db.clone(), db.clone());
    edit(&mut left, &person, 3, r#"{"title":"b"}"#);
    edit(&mut right, &address, 4, r#"{"street":"b"}"#);
    for one in [&mut left, &mut right] {
        one.reconcile(&app);
        one.replicate_to(&mut db, &app.all());
    }
    assert_eq!(db.live(&contact), 2);
    let outcome = db.missing(&app);
    assert!(
        outcome.refusals.iter().any(|refusal| refusal.target == contact),
        "{outcome:#?}"
    );
    db.land(&outcome.writes);
    let shown = db.shown(&contact).unwrap();
    assert!(shown["title"] == "a" || shown["street"] == "a", "{db:#?}");
    assert!(!db.reconcile(&app), "it comes to rest");
    // The next edit that fits is carried.
    edit(&mut db, &address, 5, r#"{"street":"c"}"#);
    db.reconcile(&app);
    assert_eq!(db.shown(&contact).unwrap()["street"], "c", "{db:#?}");
}

fn comes_to_rest(
    kind: Kind,
    branches: Vec<Branch>,
    shared: bool,
    torn: &[bool],
    merging: bool,
) -> Result<(), TestCaseError> {
    let app = App::new(kind);
    let app = if merging { app.merging_fields() } else { app };
    let mut db = Db::default();
    for (n, (id, generation, hashes, deleted)) in branches.into_iter().enumerate() {
        let path: Vec<Rev> = (1..=generation)
            .rev()
            .zip(hashes)
            .map(|(g, hash)| rev(g, hash, id, shared))
            .collect();
        let body = json!({"title": n, "name": n, "isDone": n % 2 == 0, "status": "done", "street": n, "group": n});
        db.write(&app.ids[id], &path, (!deleted).then(|| body.to_string()));
        let writes = db.missing(&app).writes;
        if torn[n % torn.len()] {
            db.land(&writes);
        }
    }
    for _ in 0..6 {
        if !db.reconcile(&app) {
            return Ok(());
        }
    }
    let writes: Vec<String> = db
        .missing(&app)
        .writes
        .iter()
        .map(|w| format!("{} {:?} {:?}", w.id, w.path, w.body.is_some()))
        .collect();
    prop_assert!(writes.is_empty(), "does not come to rest: {writes:#?} in {db:#?}");
    Ok(())
}

/// What embeds no group that has a name stays by itself, whatever else is in conflict with it.
#[test]
fn what_names_no_shared_document_comes_to_rest() {
    let branches = vec![
        (0, 1, vec![6], false),
        (2, 4, vec![6, 0], false),
        (2, 2, vec![0, 6], false),
    ];
    comes_to_rest(Kind::Share, branches, false, &[true, false, false], false).unwrap();
}

proptest! {
    #[test]
    fn whatever_is_read_comes_to_rest(kind in kinds(), branches in branches(), shared in any::<bool>(), torn in vec(any::<bool>(), 12), merging in any::<bool>()) {
        comes_to_rest(kind, branches, shared, &torn, merging)?;
    }
}
