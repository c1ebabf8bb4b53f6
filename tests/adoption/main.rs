//! Todos in versions that nobody carried: copies from before there was a proxy, versions whose origin is gone, masters that meet, and
//! histories that are cut while they are carried.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod copies;
mod cut;
mod masters;
mod replication;
#[path = "../support/stage.rs"]
mod stage;

use serde_json::{Value, json};
use stage::Asking;

const T1: &str = "todo-item:k:v:1";
const T2: &str = "todo-item:k:v:2";
const T3: &str = "todo-item:k:v:3";
const S: &str = "todo-item-status:k:v:1";
const ALL: [&str; 4] = [T1, T2, T3, S];

/// A todo in one of its documents.
fn body(id: &str, title: &str) -> Value {
    match id {
        T1 => json!({"schema": "todo-item", "version": 1, "title": title, "isDone": false}),
        T2 => json!({"schema": "todo-item", "version": 2, "title": title}),
        T3 => json!({"schema": "todo-item", "version": 3, "title": title, "group": "home"}),
        _ => json!({"schema": "todo-item-status", "version": 1, "status": "active"}),
    }
}

/// Writes past every proxy.
async fn copy(couch: &Asking, titles: &[(&str, &str)]) {
    for (id, title) in titles {
        couch.put(id, body(id, title)).await;
    }
}

/// Writes on top of what is there.
async fn edit(proxy: &Asking, id: &str, title: &str) {
    let mut fields = body(id, title);
    fields["_rev"] = json!(proxy.rev(id).await);
    proxy.put(id, fields).await;
}

async fn delete(proxy: &Asking, id: &str) {
    let rev = proxy.rev(id).await;
    assert_eq!(proxy.ask("DELETE", &format!("{id}?rev={rev}"), "").await.status, 200);
}

/// Every version shows the title, and none is in conflict.
async fn assert_in_step(couch: &Asking, title: &str) {
    for id in [T1, T2, T3] {
        let leaves = couch.leaves(id).await;
        assert!(
            leaves.len() == 1 && leaves[0]["title"] == title,
            "{id} is not {title}: {leaves:?}"
        );
    }
    assert_eq!(couch.leaves(S).await.len(), 1);
}

/// Each version is edited, and then the todo is deleted in one and written again in another.
async fn assert_followed(couch: &Asking, proxy: &Asking) {
    for (n, id) in [T1, T3, T2, T1, T2, T3].into_iter().enumerate() {
        let title = format!("edited {n}");
        edit(proxy, id, &title).await;
        assert_in_step(couch, &title).await;
    }
    delete(proxy, T1).await;
    for id in ALL {
        assert_eq!(couch.leaves(id).await, [Value::Null; 0], "{id}");
    }
    proxy.put(T3, body(T3, "again")).await;
    proxy.put(S, body(S, "")).await;
    assert_in_step(couch, "again").await;
}
