//! The worked apps of `examples/`: clean, as their pages say, and in step in every version through real sockets.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "../support/binary.rs"]
mod binary;
#[path = "../support/document.rs"]
mod document;
mod entities;
#[path = "../support/npm.rs"]
mod npm;
mod pages;
#[path = "../support/stage.rs"]
mod stage;

use std::{path::Path, process::Command};

use entities::{Entity, Shown, contact, gone, item, message, settings, versions};
use serde_json::{Value, json};
use stage::{Asking, Stage};

/// What a version of an app writes to have an entity in a state, at once as apps do; what it no longer has it deletes.
async fn write(proxy: &Asking, version: usize, key: &str, documents: &[Shown]) {
    let mut docs = Vec::new();
    for shown in documents.iter().filter(|shown| shown.versions.contains(&version)) {
        let id = shown.id(key);
        let rev = proxy.ask("GET", &id, "").await.body["_rev"].clone();
        let mut document = shown.document();
        if document.is_null() {
            if rev.is_null() {
                continue;
            }
            document = json!({"_deleted": true});
        }
        document["_id"] = id.into();
        if !rev.is_null() {
            document["_rev"] = rev;
        }
        docs.push(document);
    }
    bulk(proxy, json!({"docs": docs})).await;
}

async fn bulk(proxy: &Asking, body: Value) {
    let answer = proxy.ask("POST", "_bulk_docs", body.to_string()).await;
    assert!(answer.status.is_success(), "{answer:?}");
    for row in answer.body.as_array().unwrap() {
        assert_eq!(row.get("error"), None, "{body}: {row}");
    }
}

async fn assert_shows(proxy: &Asking, key: &str, documents: &[Shown]) {
    for shown in documents {
        assert_eq!(
            proxy.get(&shown.id(key)).await,
            shown.document(),
            "{key} {}",
            shown.class
        );
        let leaves = proxy.leaves(&shown.id(key)).await;
        assert!(leaves.len() < 2, "{key}: {leaves:?}");
    }
}

async fn stage(name: &str) -> Stage {
    Stage::of(&Path::new("examples").join(name).join("schemas")).await
}

/// Made in one version, edited in another, and deleted in that one, for all pairs.
async fn travels(proxy: &Asking, entity: Entity) {
    for author in versions(entity) {
        for editor in versions(entity) {
            let key = format!("{author}-{editor}");
            for (writer, state) in [(author, 0), (editor, 1), (author, 2), (editor, 3)] {
                write(proxy, writer, &key, &entity(state)).await;
                assert_shows(proxy, &key, &entity(state)).await;
            }
            write(proxy, editor, &key, &gone(entity(0))).await;
            assert_shows(proxy, &key, &gone(entity(0))).await;
        }
    }
}

/// Two clients have edited the same offline, the first in the oldest version and the second in the newest. Both see a conflict, with the same
/// winner; whichever of them ends it ends it for both.
async fn conflicts(proxy: &Asking, entity: Entity) {
    let [oldest, .., newest] = versions(entity)[..] else {
        panic!("there are no two versions");
    };
    for resolver in [oldest, newest] {
        let key = format!("resolved-by-{resolver}");
        write(proxy, oldest, &key, &entity(0)).await;
        let main = |version: usize| move |shown: &Shown| shown.versions.contains(&version);
        let (mut revs, mut ids) = (Vec::new(), Vec::new());
        for version in [oldest, newest] {
            let id = entity(0).into_iter().find(main(version)).unwrap().id(&key);
            revs.push(proxy.rev(&id).await);
            ids.push(id);
        }
        for ((version, state), (rev, id)) in [(oldest, 2), (newest, 3)].into_iter().zip(revs.iter().zip(&ids)) {
            let (generation, hash) = rev.split_once('-').unwrap();
            let generation = generation.parse::<u64>().unwrap() + 1;
            let mut document = entity(state).into_iter().find(main(version)).unwrap().document();
            let edit = state.to_string().repeat(32);
            document["_id"] = id.as_str().into();
            document["_rev"] = format!("{generation}-{edit}").into();
            document["_revisions"] = json!({"start": generation, "ids": [edit, hash]});
            bulk(proxy, json!({"new_edits": false, "docs": [document]})).await;
        }
        // Parts are no part of it.
        let tied: Vec<usize> = versions(entity);
        let mains = |state| {
            tied.iter()
                .map(move |version| entity(state).into_iter().find(main(*version)).unwrap())
        };
        for shown in mains(0) {
            let leaves = proxy.leaves(&shown.id(&key)).await;
            assert_eq!(leaves.len(), 2, "{key} {}: {leaves:?}", shown.class);
        }
        let winner = proxy.get(&ids[0]).await;
        let state = if winner == entity(2)[0].document() { 2 } else { 3 };
        for shown in mains(state) {
            assert_eq!(proxy.get(&shown.id(&key)).await, shown.document(), "{key}");
        }
        let id = &ids[usize::from(resolver == newest)];
        let kept = proxy.rev(id).await;
        for leaf in proxy.leaves(id).await.iter().filter(|leaf| leaf["_rev"] != *kept) {
            let loser = format!("{id}?rev={}", leaf["_rev"].as_str().unwrap());
            assert!(proxy.ask("DELETE", &loser, "").await.status.is_success());
        }
        assert_shows(proxy, &key, &entity(state)).await;
    }
}

#[tokio::test]
async fn an_address_book_is_in_step() {
    let mut stage = stage("address-book").await;
    let proxy = stage.proxy().await;
    travels(&proxy, contact).await;
    conflicts(&proxy, contact).await;
    stage.end().await;
}

#[tokio::test]
async fn an_inventory_is_in_step() {
    let mut stage = stage("inventory").await;
    let proxy = stage.proxy().await;
    travels(&proxy, item).await;
    conflicts(&proxy, item).await;
    stage.end().await;
}

#[tokio::test]
async fn a_chat_is_in_step() {
    let mut stage = stage("chat").await;
    let proxy = stage.proxy().await;
    travels(&proxy, message).await;
    conflicts(&proxy, message).await;
    travels(&proxy, settings).await;
    stage.end().await;
}

/// Real PouchDB clients of the oldest and the newest version.
async fn syncs(name: &'static str) {
    npm::node_modules();
    let mut stage = stage(name).await;
    let proxy = stage.proxy().await;
    let mut node = Command::new("node");
    node.arg(npm::folder().join("examples.mjs"))
        .args([proxy.url(), name.to_owned()]);
    if let Some(authorization) = proxy.authorization() {
        node.env("AUTHORIZATION", authorization);
    }
    // The proxy runs on this thread.
    let told = tokio::task::spawn_blocking(move || node.output().unwrap())
        .await
        .unwrap();
    assert!(
        told.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&told.stderr)
    );
    stage.end().await;
}

#[tokio::test]
async fn the_oldest_and_the_newest_address_book_sync() {
    syncs("address-book").await;
}

#[tokio::test]
async fn the_oldest_and_the_newest_chat_sync() {
    syncs("chat").await;
}

#[tokio::test]
async fn images_travel_with_their_message() {
    let mut stage = stage("chat").await;
    let proxy = stage.proxy().await;
    let mut first = message(0).remove(0).document();
    first["image"] = "cat.png".into();
    first["_attachments"] = json!({"cat.png": {"content_type": "image/png", "data": "bWlhdQ=="}});
    proxy.put("message:cat:v:1", first).await;
    let mut newest = proxy.ask("GET", "message:cat:v:3", "").await.body;
    assert_eq!(newest["image"], "cat.png");
    assert_eq!(proxy.ask("GET", "message:cat:v:3/cat.png", "").await.bytes, "miau");
    newest["reactions"] = json!({"👍": ["bob"]});
    newest["body"] = json!([{"text": "Miau"}]);
    newest["_attachments"] = json!({"cat.png": {"content_type": "image/png", "data": "TUlBVQ=="}});
    proxy.put("message:cat:v:3", newest).await;
    assert_eq!(proxy.get("message:cat:v:1").await["text"], "Miau");
    for version in 1..=3 {
        let image = proxy.ask("GET", &format!("message:cat:v:{version}/cat.png"), "").await;
        assert_eq!(image.bytes, "MIAU", "version {version}");
    }
    stage.end().await;
}

/// Who is typing is told to versions that show it.
#[tokio::test]
async fn the_newest_chat_is_not_sent_a_class_that_has_ended() {
    let mut stage = stage("chat").await;
    let proxy = stage.proxy().await;
    let typing = json!({"schema": "typing", "version": 1, "room": "kitchen", "author": "ada"});
    proxy.put("typing:ada:v:1", typing).await;
    for (version, is_sent) in [("1.0.0", true), ("2.0.0", true), ("3.0.0", false)] {
        let app = format!("chat@{version}");
        let answer = proxy.ask_with("GET", "_changes", &[("App-Version", &app)], "").await;
        let sent = answer.body["results"]
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["id"] == "typing:ada:v:1");
        assert_eq!(sent, is_sent, "{app}");
    }
    stage.end().await;
}
