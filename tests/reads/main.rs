//! What an app version is shown of `_all_docs`, `_find`, `_bulk_get` and views: against the embedded store, or the server that
//! `COUCHDB_URL` names.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod all_docs;
mod bulk_get;
mod find;
#[path = "../support/stage.rs"]
mod stage;
mod views;

use std::sync::Arc;

use chesterfield::schema::{AppManifest, Scope};
use serde_json::{Value, json};
use stage::{Answered, Asking, Stage};

/// The header of version 2 of the todo app.
const V2: (&str, &str) = ("app-version", "todo-app@2.0.0");

const JSON: (&str, &str) = ("accept", "application/json");

/// A database, and it as version 2 of the todo app is shown it.
struct Scoped {
    stage: Stage,
    direct: Asking,
    proxy: Asking,
    app: Arc<AppManifest>,
}

impl Scoped {
    async fn new(scope: Scope) -> Self {
        Self::on(Stage::new().await, scope).await
    }

    async fn on(mut stage: Stage, scope: Scope) -> Self {
        stage.scope(scope);
        Self {
            direct: stage.direct(),
            proxy: stage.proxy().await,
            app: stage.app("todo-app@2.0.0"),
            stage,
        }
    }

    /// Documents past the proxy, so that they are what they are.
    async fn write(&self, docs: Vec<Value>) {
        let answer = self
            .direct
            .ask("POST", "_bulk_docs", json!({ "docs": docs }).to_string())
            .await;
        assert!(answer.status.is_success(), "{answer:?}");
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Answered {
        self.proxy.ask_with(method, path, &[V2], body.to_owned()).await
    }

    fn admits(&self, id: &str) -> bool {
        self.app.reads.as_ref().unwrap().admits(id)
    }

    /// The ids of an answer's rows.
    async fn ids(&self, method: &str, path: &str, body: &str) -> Vec<String> {
        let answer = self.ask(method, path, body).await;
        let rows = answer.body["rows"].as_array().or(answer.body["docs"].as_array());
        let id = |row: &Value| row["id"].as_str().or(row["_id"].as_str()).unwrap().to_owned();
        rows.unwrap_or_else(|| panic!("{method} {path}: {answer:?}"))
            .iter()
            .map(id)
            .collect()
    }
}

/// The todos of the keys, in all three versions, and what is no todo.
fn todos(keys: &[&str]) -> Vec<Value> {
    let todo = |(key, version): (&str, u64)| json!({"_id": format!("todo-item:{key}:v:{version}"), "schema": "todo-item", "version": version, "title": key});
    let every = keys.iter().flat_map(|key| (1..=3).map(|version| (*key, version)));
    every
        .map(todo)
        .chain([json!({"_id": "plain"}), json!({"_id": "todo-item-status:a:v:1"})])
        .collect()
}
