//! What CouchDB's replicator does between two databases, and the revisions that are then the same.

use serde_json::{Value, json};

use super::stage::Asking;

/// Every leaf of a document with its ancestors, newest first, and whether it is deleted, in the order of the revisions.
pub async fn history(couch: &Asking, id: &str) -> Vec<(String, Vec<String>, bool)> {
    let mut leaves: Vec<_> = open(couch, id).await.iter().map(leaf).collect();
    leaves.sort();
    leaves
}

fn leaf(document: &Value) -> (String, Vec<String>, bool) {
    let start = document["_revisions"]["start"].as_u64().unwrap();
    let hashes = document["_revisions"]["ids"].as_array().unwrap();
    let path = hashes.iter().zip((1..=start).rev());
    (
        document["_rev"].as_str().unwrap().to_owned(),
        path.map(|(hash, generation)| format!("{generation}-{}", hash.as_str().unwrap()))
            .collect(),
        document["_deleted"] == true,
    )
}

async fn open(couch: &Asking, id: &str) -> Vec<Value> {
    let path = format!("{id}?open_revs=all&revs=true");
    let answer = couch
        .ask_with("GET", &path, &[("accept", "application/json")], "")
        .await;
    let rows = answer.body.as_array().cloned().unwrap_or_default();
    rows.into_iter()
        .filter_map(|mut row| Some(row.get_mut("ok")?.take()))
        .collect()
}

/// Brings every leaf of the documents that `is_wanted` names from one database into the other, with its history.
pub async fn replicate(from: &Asking, to: &Asking, is_wanted: impl Fn(&str) -> bool) {
    let changes = from.ask("GET", "_changes", "").await;
    let ids = changes.body["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap());
    let mut docs = Vec::new();
    for id in ids.filter(|id| is_wanted(id)) {
        docs.extend(open(from, id).await);
    }
    let batch = json!({"new_edits": false, "docs": docs}).to_string();
    let answer = to.ask("POST", "_bulk_docs", batch).await;
    assert_eq!((answer.status.as_u16(), &answer.body), (201, &json!([])), "{answer:?}");
}
