//! Documents and the JSON Schemas of their classes: what does not fit is not carried.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/stage.rs"]
mod stage;

use serde_json::{Value, json};
use stage::Stage;

const T1: &str = "todo-item:k:v:1";
const T2: &str = "todo-item:k:v:2";
const T3: &str = "todo-item:k:v:3";
const S: &str = "todo-item-status:k:v:1";

fn todo(title: impl Into<Value>) -> Value {
    json!({"schema": "todo-item", "version": 1, "title": title.into(), "isDone": false})
}

fn on(rev: &str, mut document: Value) -> Value {
    document["_rev"] = rev.into();
    document
}

#[tokio::test]
async fn what_a_lens_makes_has_to_fit_its_class() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    // A client's mistake is its own: nobody else is made to see it.
    let rev = proxy.put(T1, todo(5)).await;
    assert_eq!(proxy.get(T1).await["title"], 5);
    assert_eq!(proxy.get(S).await["status"], "active", "what fits is carried");
    for id in [T2, T3] {
        assert_eq!(proxy.get(id).await, Value::Null, "{id}");
    }
    // Once it is mended, all is.
    let rev = proxy.put(T1, on(&rev, todo("five"))).await;
    for id in [T2, T3] {
        assert_eq!(proxy.get(id).await["title"], "five", "{id}");
        assert_eq!(proxy.leaves(id).await.len(), 1, "{id}");
    }
    // Whatever was there stays as it is until then.
    let rev = proxy.put(T1, on(&rev, todo(6))).await;
    assert_eq!(proxy.get(T3).await["title"], "five");
    proxy.put(T1, on(&rev, todo("six"))).await;
    assert_eq!(proxy.get(T3).await["title"], "six");
    // Deletions are no documents.
    let last = proxy.rev(T1).await;
    proxy.ask("DELETE", &format!("{T1}?rev={last}"), "").await;
    assert_eq!(proxy.get(T3).await, Value::Null);
    stage.end().await;
}
