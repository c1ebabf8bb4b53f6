//! A proxy killed at every request that a write takes, in every way; who comes after it makes up for what it left.
//!
//! That is every point at which it can be killed with another outcome: what it leaves behind is what the upstream has of it, and between two
//! requests nothing of that changes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    check::Seen,
    device::Line,
    past::{ids, todo},
    stage::{Asking, Stage},
    upstream::{DEATHS, Death, Faulty},
};

/// A write never takes so many requests.
const MOST: usize = 40;

/// What somebody writes; `key` names a todo that is there in all versions, and one that is not is named by it with an `n` before.
#[derive(Clone, Copy, Debug)]
pub enum Writing {
    Create,
    Edit,
    Delete,
    /// A batch of two entities.
    Batch,
    /// What a replicator brings, beside what is there.
    Conflict,
    Status,
    /// A todo of version 3, whose status comes with it.
    Both,
}

pub const ALL: [Writing; 7] = [
    Writing::Create,
    Writing::Edit,
    Writing::Delete,
    Writing::Batch,
    Writing::Conflict,
    Writing::Status,
    Writing::Both,
];

fn with(mut body: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

impl Writing {
    async fn request(self, couch: &Asking, key: &str) -> (&'static str, String, Value) {
        let [one, _, three, status] = ids(key);
        let [fresh, .., fresh_status] = ids(&format!("n{key}"));
        match self {
            Self::Create => ("PUT", fresh, todo("new")),
            Self::Edit => {
                let rev = couch.rev(&three).await;
                let body = json!({"_rev": rev, "schema": "todo-item", "version": 3, "title": "edited", "group": "x"});
                ("PUT", three, body)
            }
            Self::Delete => {
                let rev = couch.rev(&one).await;
                ("DELETE", format!("{one}?rev={rev}"), Value::Null)
            }
            Self::Batch => {
                let edited = with(todo("edited"), json!({"_id": one, "_rev": couch.rev(&one).await}));
                let docs = [edited, with(todo("new"), json!({"_id": fresh}))];
                ("POST", "_bulk_docs".into(), json!({"docs": docs}))
            }
            Self::Conflict => {
                let hash = "c".repeat(32);
                let revisions = json!({"start": 1, "ids": [hash]});
                let beside = json!({"_id": one, "_rev": format!("1-{hash}"), "_revisions": revisions});
                let batch = json!({"new_edits": false, "docs": [with(todo("beside"), beside)]});
                ("POST", "_bulk_docs".into(), batch)
            }
            Self::Status => {
                let rev = couch.rev(&status).await;
                let body = json!({"_rev": rev, "schema": "todo-item-status", "version": 1, "status": "done"});
                ("PUT", status, body)
            }
            Self::Both => {
                let [.., third, _] = ids(&format!("n{key}"));
                let docs = json!([
                    {"_id": fresh_status, "schema": "todo-item-status", "version": 1, "status": "done"},
                    {"_id": third, "schema": "todo-item", "version": 3, "title": "new", "group": "x"},
                ]);
                ("POST", "_bulk_docs".into(), json!({"docs": docs}))
            }
        }
    }
}

/// Tries every request of one write; answers how often a proxy was killed, and what is wrong.
pub async fn tried(writing: Writing, death: Death) -> (usize, Vec<String>) {
    let mut stage = Stage::new().await;
    let (couch, upstream) = (stage.direct(), stage.upstream.service.clone());
    let mut findings = Vec::new();
    let mut kills = 0;
    for n in 0..MOST {
        let key = format!("k{n}");
        let faulty = Faulty::new(upstream.clone(), 1);
        stage.upstream.service = faulty.service();
        let proxy = stage.proxy().await;
        stage.upstream.service = upstream.clone();
        faulty.ends(stage.process(&proxy));
        proxy.put(&ids(&key)[0], todo("before")).await;
        let follower = stage.follow(|settings| settings.sweep = Duration::from_millis(50));
        follower.wake(&stage.db);
        follower.rested().await;
        stage.stop_following();
        follower.ended().await;

        let (method, path, body) = writing.request(&couch, &key).await;
        faulty.doom(Some((n, death)));
        let body = (!body.is_null()).then_some(body);
        let answered = Line::new(&proxy, None).ask(method, &path, body).await;
        if !faulty.is_dead() {
            assert!(answered.is_ok_and(|(status, _)| status.is_success()), "{writing:?}");
            break;
        }
        kills += 1;
        stage.bury(&proxy);
        let follower = stage.follow(|settings| settings.sweep = Duration::from_millis(50));
        follower.wake(&stage.db);
        follower.rested().await;
        stage.stop_following();
        follower.ended().await;
        let seen = Seen::read(&couch).await;
        let mut wrong = seen.disagreements();
        wrong.extend(uneven(&seen, &key));
        wrong.extend(uneven(&seen, &format!("n{key}")));
        wrong.extend(seen.conflicts(|_| !matches!(writing, Writing::Conflict)));
        match stage.backfill().await {
            0 => {}
            written => wrong.push(format!("{written} revisions were missing, and nothing told of it")),
        }
        findings.extend(
            wrong
                .into_iter()
                .map(|wrong| format!("{writing:?}, {death:?} at {n}: {wrong}")),
        );
    }
    assert!(kills > 0 && kills < MOST, "{writing:?}, {death:?}: {kills}");
    stage.end().await;
    (kills, findings)
}

/// Documents of a todo with more leaves than others of it.
fn uneven(seen: &Seen, key: &str) -> Option<String> {
    let [one, two, three, _] = ids(key);
    let live = [one, two, three].map(|id| seen.tree(&id).map_or(0, |tree| tree.live().len()));
    let is_uneven = (live[0] != live[1] && !seen.is_waiting(key)) || live[1] != live[2];
    is_uneven.then(|| format!("{key} has so many leaves in its versions: {live:?}"))
}

pub fn deaths() -> impl Iterator<Item = (Writing, Death)> {
    ALL.into_iter().flat_map(|writing| DEATHS.map(|death| (writing, death)))
}
