//! Todos of the example app, and the documents that Chesterfield makes of them, for those who write all of them by hand.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

/// A todo that nobody has written yet.
pub struct Todo {
    key: String,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Todo {
    pub fn new() -> Self {
        // Scattered, as the ids of apps are: in order, a database would append only.
        let key = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            key: format!("{key:016x}"),
        }
    }

    pub fn many(count: usize) -> Vec<Self> {
        (0..count).map(|_| Self::new()).collect()
    }

    /// What a client of version 1 writes.
    pub fn first(&self) -> (String, serde_json::Value) {
        let id = format!("todo-item:{}:v:1", self.key);
        let document = json!({
            "_id": id, "schema": "todo-item", "version": 1, "title": "Buy milk", "isDone": false, "isImportant": true,
            "createdAt": "2025-03-01T08:30:00.000Z",
        });
        (id, document)
    }

    /// What it is in the other versions.
    pub fn others(&self) -> [(String, serde_json::Value); 3] {
        let item = |version: u32| {
            let id = format!("todo-item:{}:v:{version}", self.key);
            let document = json!({
                "_id": id, "schema": "todo-item", "version": version, "title": "Buy milk", "isImportant": true,
                "createdAt": "2025-03-01T08:30:00.000Z",
            });
            (id, document)
        };
        let (second, mut third) = (item(2), item(3));
        third.1["group"] = json!("default");
        let status = format!("todo-item-status:{}:v:1", self.key);
        let document = json!({"_id": status, "schema": "todo-item-status", "version": 1, "status": "active"});
        [second, (status, document), third]
    }

    /// The others with a revision of their own, as a replicator writes them.
    pub fn replicated(&self) -> impl Iterator<Item = serde_json::Value> {
        let hash = self.key.repeat(2);
        self.others().into_iter().map(move |(_, mut document)| {
            document["_rev"] = json!(format!("1-{hash}"));
            document["_revisions"] = json!({"start": 1, "ids": [hash]});
            document
        })
    }
}

/// The body of a `_bulk_docs`.
pub fn bulk(new_edits: bool, documents: impl Iterator<Item = serde_json::Value>) -> String {
    json!({"new_edits": new_edits, "docs": documents.collect::<Vec<_>>()}).to_string()
}
