//! Two versions of an app edit one todo at the same time, with fields merged and without.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/stage.rs"]
mod stage;

use std::{fs, path::Path};

use serde_json::{Value, json};
use stage::{Asking, Stage};
use tempfile::TempDir;

const T1: &str = "todo-item:k:v:1";
const T3: &str = "todo-item:k:v:3";
const S: &str = "todo-item-status:k:v:1";
const ALL: [&str; 4] = [T1, "todo-item:k:v:2", T3, S];

/// The todo app's, with `merge` in the newest classes.
fn schemas() -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in ["classes", "lenses", "apps"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(name);
        let to = folder.path().join(name);
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    for class in ["todo-item@3", "todo-item-status@1"] {
        let file = folder.path().join("classes").join(format!("{class}.json"));
        let mut definition: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        definition["merge"] = json!("fields");
        fs::write(file, definition.to_string()).unwrap();
    }
    folder
}

/// A revision on top of another one, sent as a replicator does: whatever was written in the meantime.
async fn push(proxy: &Asking, id: &str, base: &str, hash: char, mut fields: Value) {
    let (generation, parent) = base.split_once('-').unwrap();
    let start = generation.parse::<u64>().unwrap() + 1;
    let hash = hash.to_string().repeat(32);
    fields["_id"] = json!(id);
    fields["_rev"] = json!(format!("{start}-{hash}"));
    fields["_revisions"] = json!({"start": start, "ids": [hash, parent]});
    let batch = json!({"new_edits": false, "docs": [fields]});
    let answer = proxy.ask("POST", "_bulk_docs", batch.to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// What a phone with version 1 and a laptop with version 3 have before both go offline: the revisions of the todo in their versions.
async fn shared(proxy: &Asking) -> [String; 2] {
    let todo = json!({"schema": "todo-item", "version": 3, "title": "a", "group": "home"});
    proxy.put(T3, todo).await;
    let status = json!({"schema": "todo-item-status", "version": 1, "status": "active"});
    proxy.put(S, status).await;
    [proxy.rev(T1).await, proxy.rev(T3).await]
}

fn phone(title: &str, done: bool) -> Value {
    json!({"schema": "todo-item", "version": 1, "title": title, "isDone": done})
}

fn laptop(title: &str, group: &str) -> Value {
    json!({"schema": "todo-item", "version": 3, "title": title, "group": group})
}

async fn assert_leaves(proxy: &Asking, expected: [usize; 4]) {
    for (id, expected) in ALL.into_iter().zip(expected) {
        let leaves = proxy.leaves(id).await;
        assert_eq!(leaves.len(), expected, "{id}: {leaves:?}");
    }
}

#[tokio::test]
async fn a_todo_is_done_in_one_version_while_another_moves_it_to_another_group() {
    let schemas = schemas();
    // Whichever comes back first, and whichever revision is the higher one.
    for (is_phone_first, hashes) in [
        (true, ['4', '8']),
        (true, ['8', '4']),
        (false, ['4', '8']),
        (false, ['8', '4']),
    ] {
        let mut stage = Stage::of(schemas.path()).await;
        let proxy = stage.proxy().await;
        let [on_phone, on_laptop] = shared(&proxy).await;
        for is_phone in [is_phone_first, !is_phone_first] {
            if is_phone {
                push(&proxy, T1, &on_phone, hashes[0], phone("a", true)).await;
            } else {
                push(&proxy, T3, &on_laptop, hashes[1], laptop("a", "work")).await;
            }
        }
        assert_leaves(&proxy, [1; 4]).await;
        assert_eq!(proxy.get(T1).await, phone("a", true));
        assert_eq!(proxy.get(T3).await, laptop("a", "work"));
        assert_eq!(proxy.get(S).await["status"], "done");
        stage.end().await;
    }
}

#[tokio::test]
async fn two_titles_stay_a_conflict_in_every_version() {
    let schemas = schemas();
    let mut stage = Stage::of(schemas.path()).await;
    let proxy = stage.proxy().await;
    let [on_phone, on_laptop] = shared(&proxy).await;
    push(&proxy, T1, &on_phone, '4', phone("b", false)).await;
    push(&proxy, T3, &on_laptop, '8', laptop("c", "work")).await;
    assert_leaves(&proxy, [2, 2, 2, 1]).await;
    let titles = [
        proxy.get(T1).await["title"].clone(),
        proxy.get(T3).await["title"].clone(),
    ];
    assert_eq!(titles, ["c", "c"]);
    stage.end().await;
}

/// What is merged stands on the side that has them, be it the lower one.
#[tokio::test]
async fn attachments_of_one_side_stay() {
    let schemas = schemas();
    for hashes in [['4', '8'], ['8', '4']] {
        let mut stage = Stage::of(schemas.path()).await;
        let proxy = stage.proxy().await;
        let [on_phone, on_laptop] = shared(&proxy).await;
        let mut with_attachment = laptop("a", "work");
        with_attachment["_attachments"] = json!({"a.txt": {"content_type": "text/plain", "data": "aGVsbG8="}});
        push(&proxy, T3, &on_laptop, hashes[0], with_attachment).await;
        push(&proxy, T1, &on_phone, hashes[1], phone("b", false)).await;
        assert_leaves(&proxy, [1; 4]).await;
        let mut shown = proxy.get(T3).await;
        let attachments = shown.as_object_mut().unwrap().remove("_attachments").unwrap();
        assert_eq!(shown, laptop("b", "work"));
        assert_eq!(attachments["a.txt"]["length"], 5, "{attachments}");
        let answer = proxy.ask("GET", &format!("{T3}/a.txt"), "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        stage.end().await;
    }
}

/// The laptop has not heard of the merge when it goes on.
#[tokio::test]
async fn who_goes_on_at_a_side_that_was_merged_makes_no_conflict() {
    let schemas = schemas();
    let mut stage = Stage::of(schemas.path()).await;
    let proxy = stage.proxy().await;
    let [on_phone, on_laptop] = shared(&proxy).await;
    push(&proxy, T3, &on_laptop, '4', laptop("a", "work")).await;
    push(&proxy, T1, &on_phone, '8', phone("b", true)).await;
    assert_leaves(&proxy, [1; 4]).await;
    let generation: u64 = on_laptop.split_once('-').unwrap().0.parse().unwrap();
    let side = format!("{}-{}", generation + 1, "4".repeat(32));
    push(&proxy, T3, &side, 'c', laptop("a", "garden")).await;
    assert_leaves(&proxy, [1; 4]).await;
    assert_eq!(proxy.get(T1).await, phone("b", true));
    assert_eq!(proxy.get(T3).await, laptop("b", "garden"));
    stage.end().await;
}

#[tokio::test]
async fn nothing_is_merged_where_no_class_asks_for_it() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let [on_phone, on_laptop] = shared(&proxy).await;
    push(&proxy, T1, &on_phone, '4', phone("a", true)).await;
    push(&proxy, T3, &on_laptop, '8', laptop("a", "work")).await;
    assert_leaves(&proxy, [2, 2, 2, 1]).await;
    stage.end().await;
}
