//! What is there already is brought in step with classes that are new, by who follows and by hand.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/binary.rs"]
mod binary;
#[path = "support/past.rs"]
mod past;
#[path = "support/stage.rs"]
mod stage;

use std::{
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use past::{Asked, checkpoint, ids, is_everywhere, noting, taken, todo};
use serde_json::{Value, json};
use stage::{Asking, Stage};

/// A folder of schemas: the todo app's, and notes in so many versions.
fn schemas(folder: &Path, versions: u8) -> PathBuf {
    for part in ["classes", "lenses"] {
        fs::create_dir_all(folder.join(part)).unwrap();
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(part)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.join(part).join(entry.file_name())).unwrap();
        }
    }
    for version in 1..=versions {
        let class = json!({"id": "note", "version": format!("{version}.0.0")});
        fs::write(folder.join(format!("classes/note@{version}.json")), class.to_string()).unwrap();
    }
    for old in 1..versions {
        let new = old + 1;
        let lens = format!("old: note@{old}\nnew: note@{new}\nsteps:\n  - add: {{ field: since{new}, value: true }}\n");
        fs::write(folder.join(format!("lenses/note-{old}-to-{new}.yaml")), lens).unwrap();
    }
    folder.to_owned()
}

/// Writes many documents at once, past every proxy.
async fn write(couch: &Asking, docs: impl Iterator<Item = Value>) {
    let body = json!({"docs": docs.collect::<Vec<_>>()}).to_string();
    assert!(couch.ask("POST", "_bulk_docs", body).await.status.is_success());
}

fn note(key: &str) -> Value {
    json!({"_id": format!("note:{key}:v:1"), "schema": "note", "version": 1, "text": key})
}

fn todo_of(key: &str) -> Value {
    let mut document = todo(key);
    document["_id"] = json!(ids(key)[0]);
    document
}

#[tokio::test]
async fn a_new_class_is_made_up_for_and_no_other_is_read() {
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let asked = Asked::default();
    let mut stage = Stage::behind(noting(asked.clone(), |_, _| false)).await;
    stage.schemas(&schemas(before.path(), 2));
    let couch = stage.direct();
    let keys: Vec<String> = (0..10).map(|n| format!("k{n}")).collect();
    write(&couch, keys.iter().flat_map(|key| [note(key), todo_of(key)])).await;
    let follower = stage.follow(|_| ());
    couch
        .until(async || couch.get("note:k9:v:2").await["since2"] == true && is_everywhere(&couch, "k9", "k9").await)
        .await;
    follower.wake(&stage.db);
    follower.rested().await;
    stage.stop_following();
    follower.ended().await;
    let was = checkpoint(&stage).await["classes"].clone();

    stage.schemas(&schemas(after.path(), 3));
    taken(&asked, "");
    let follower = stage.follow(|_| ());
    couch
        .until(async || {
            let mut is_there = true;
            for key in &keys {
                is_there &= couch.get(&format!("note:{key}:v:3")).await["since3"] == true;
            }
            is_there
        })
        .await;
    follower.wake(&stage.db);
    follower.rested().await;
    let read = taken(&asked, "_bulk_get");
    assert!(
        !read.is_empty() && read.iter().all(|(_, body)| !body.contains("todo-item")),
        "{read:?}"
    );
    let kept = checkpoint(&stage).await;
    assert_eq!(kept["classes"]["todo-item@1"], was["todo-item@1"]);
    assert_ne!(kept["classes"]["note@1"], was["note@1"]);
    assert!(
        kept["classes"].get("note@3").is_some() && kept.get("backfill").is_none(),
        "{kept}"
    );
    stage.end().await;
    follower.ended().await;
}

#[tokio::test]
async fn what_is_interrupted_goes_on_where_it_was() {
    let asked = Asked::default();
    let mut stage = Stage::behind(noting(asked.clone(), |_, _| false)).await;
    let couch = stage.direct();
    let keys: Vec<String> = (0..400).map(|n| format!("k{n:03}")).collect();
    write(&couch, keys.iter().map(|key| todo_of(key))).await;
    // The first page pays for an hour.
    let follower = stage.follow(|settings| settings.rate = NonZeroU32::new(1));
    couch.until(async || is_everywhere(&couch, "k000", "k000").await).await;
    stage.stop_following();
    follower.ended().await;
    let kept = checkpoint(&stage).await;
    assert_eq!(kept["backfill"]["done"], 300, "{kept}");
    assert_eq!(couch.get(&ids("k399")[1]).await, Value::Null);

    taken(&asked, "");
    let follower = stage.follow(|settings| settings.rate = None);
    couch.until(async || is_everywhere(&couch, "k399", "k399").await).await;
    follower.wake(&stage.db);
    follower.rested().await;
    let listed = taken(&asked, "_all_docs");
    assert!(listed[0].0.contains("todo-item%3Ak299"), "{listed:?}");
    let kept = checkpoint(&stage).await;
    assert!(
        kept.get("backfill").is_none() && kept["classes"].get("todo-item@1").is_some(),
        "{kept}"
    );
    stage.end().await;
    follower.ended().await;
}

/// Runs a command on the stage's server; answers what it printed.
async fn run(stage: &Stage, arguments: &[&str]) -> String {
    let mut command = binary::chesterfield(Path::new(env!("CARGO_MANIFEST_DIR")));
    command
        .args(arguments)
        .env("CHESTERFIELD_SCHEMAS", "schemas")
        .env("CHESTERFIELD_UPSTREAM", stage.address());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaints}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_hand_a_database_is_brought_in_step_and_told_of() {
    let stage = Stage::new().await;
    let couch = stage.direct();
    let status = async |arguments: &[&str]| -> Value {
        let arguments = [&["status", &stage.db, "--format", "json"], arguments].concat();
        serde_json::from_str(&run(&stage, &arguments).await).unwrap()
    };
    let keys: Vec<String> = (0..5).map(|n| format!("k{n}")).collect();
    write(&couch, keys.iter().map(|key| todo_of(key))).await;
    // Version 1 waits for its status.
    couch.put("todo-item:waiting:v:2", json!({"title": "waits"})).await;
    let before = status(&["--entities"]).await;
    assert_eq!(
        (&before["followed"], &before["unread"]),
        (&json!(false), &json!(6)),
        "{before}"
    );
    assert_eq!(
        before["survey"],
        json!({"entities": 6, "conflicts": 0, "waiting": 1, "stuck": 0, "behind": 6})
    );

    let told = run(&stage, &["backfill", &stage.db]).await;
    let db = &stage.db;
    let expected =
        format!("{db}: 16 revisions written, 0 refused; 0 entities no lens could carry, 1 wait for a document");
    assert!(told.lines().any(|line| line == expected), "{told}");
    for key in &keys {
        assert!(is_everywhere(&couch, key, key).await, "{key}");
    }
    // Two leaves of one document.
    let mut rev = todo_of("k0");
    rev["_rev"] = json!(format!("1-{}", "f".repeat(32)));
    let body = json!({"new_edits": false, "docs": [rev]}).to_string();
    assert!(couch.ask("POST", "_bulk_docs", body).await.status.is_success());
    let after = status(&["--entities"]).await;
    assert_eq!(
        (&after["followed"], &after["missing"]),
        (&json!(true), &json!([])),
        "{after}"
    );
    assert_eq!(
        after["survey"],
        json!({"entities": 6, "conflicts": 1, "waiting": 1, "stuck": 0, "behind": 1})
    );
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    fs::write(&config, format!("databases: [\"{}*\"]\n", stage.db)).unwrap();
    let told = run(&stage, &["status", "--all", "--config", config.to_str().unwrap()]).await;
    assert!(
        told.starts_with(&format!("{db}: ")) && told.lines().count() == 1,
        "{told}"
    );
    assert!(told.trim().ends_with("changes not read; 0 parked, 0 failed"), "{told}");
    // Again: what was conflicting is carried, and nothing else is left.
    run(&stage, &["backfill", &stage.db]).await;
    assert_eq!(couch.leaves(&ids("k0")[2]).await.len(), 2);
    let told = run(&stage, &["backfill", &stage.db]).await;
    assert!(told.contains(&format!("{db}: 0 revisions written")), "{told}");
    stage.end().await;
}
