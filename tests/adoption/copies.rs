//! Databases that held a todo in several versions before there was a proxy, and versions whose origin is gone.

use serde_json::json;

use super::{
    ALL, S, T1, T2, T3, assert_followed, assert_in_step, body, copy, delete, edit, replication::replicate, stage::Stage,
};

#[tokio::test]
async fn copies_that_say_the_same_go_on_together() {
    let mut stage = Stage::new().await;
    let couch = stage.direct();
    copy(&couch, &ALL.map(|id| (id, "a"))).await;
    let newest = couch.rev(T3).await;
    // Once, in the older versions: from then on a deletion is told from one that was made by hand.
    assert_eq!(stage.backfill().await, 2);
    assert_in_step(&couch, "a").await;
    assert_eq!(couch.rev(T3).await, newest);
    assert_eq!(couch.get(T1).await, body(T1, "a"));
    assert_eq!(stage.backfill().await, 0);
    let proxy = stage.proxy().await;
    assert_followed(&couch, &proxy).await;
    stage.end().await;
}

#[tokio::test]
async fn of_copies_that_differ_the_newest_counts_once() {
    let mut stage = Stage::new().await;
    let couch = stage.direct();
    copy(&couch, &[(T1, "one"), (T2, "two"), (T3, "three"), (S, "")]).await;
    let old = couch.rev(T1).await;
    let newest = couch.rev(T3).await;
    stage.backfill().await;
    assert_in_step(&couch, "three").await;
    assert_eq!(couch.rev(T3).await, newest);
    let before = couch.ask("GET", &format!("{T1}?rev={old}"), "").await;
    assert_eq!(before.body["title"], "one", "{before:?}");
    assert_eq!(stage.backfill().await, 0);
    let proxy = stage.proxy().await;
    assert_followed(&couch, &proxy).await;
    stage.end().await;
}

/// Whoever writes to a copy, or makes one, before it is known for one does not lose what is written.
#[tokio::test]
async fn what_is_written_before_anybody_looks_is_a_conflict() {
    for id in [T1, T3] {
        let mut stage = Stage::new().await;
        let couch = stage.direct();
        copy(&couch, &ALL.map(|id| (id, "a"))).await;
        let proxy = stage.proxy().await;
        edit(&proxy, id, "b").await;
        stage.backfill().await;
        for id in [T1, T2, T3] {
            let leaves = couch.leaves(id).await;
            assert!(leaves.iter().any(|leaf| leaf["title"] == "b"), "{id}: {leaves:?}");
            assert!(leaves.iter().any(|leaf| leaf["title"] == "a"), "{id}: {leaves:?}");
        }
        stage.end().await;
    }
}

#[tokio::test]
async fn versions_that_are_missing_are_made() {
    let cases: [&[&str]; 7] = [
        &[T2, S],
        &[T3, S],
        &[T1, S],
        &[T1, T3, S],
        &[T1, T3],
        &[T1, T2],
        &[T2, T3, S],
    ];
    for there in cases {
        let mut stage = Stage::new().await;
        let couch = stage.direct();
        let titles: Vec<(&str, &str)> = there.iter().map(|id| (*id, *id)).collect();
        copy(&couch, &titles).await;
        stage.backfill().await;
        let newest = [T3, T2, T1].into_iter().find(|id| there.contains(id)).unwrap();
        assert_in_step(&couch, newest).await;
        let proxy = stage.proxy().await;
        assert_followed(&couch, &proxy).await;
        stage.end().await;
    }
}

/// Whoever copied todos into a new version may have deleted the old ones, or the new ones to be back where they were.
#[tokio::test]
async fn a_copy_that_was_deleted_by_hand_deletes_no_other() {
    let cases: [&[&str]; 6] = [&[T1], &[T2], &[T3], &[T1, T2], &[T2, T3], &[T1, T3]];
    for deleted in cases {
        let mut stage = Stage::new().await;
        let couch = stage.direct();
        copy(&couch, &ALL.map(|id| (id, "a"))).await;
        for id in deleted {
            delete(&couch, id).await;
        }
        stage.backfill().await;
        assert_in_step(&couch, "a").await;
        assert_eq!(stage.backfill().await, 0, "{deleted:?}");
        let proxy = stage.proxy().await;
        assert_followed(&couch, &proxy).await;
        stage.end().await;
    }
}

#[tokio::test]
async fn what_is_deleted_in_all_versions_stays_so() {
    let mut stage = Stage::new().await;
    let couch = stage.direct();
    copy(&couch, &ALL.map(|id| (id, "a"))).await;
    for id in ALL {
        delete(&couch, id).await;
    }
    assert_eq!(stage.backfill().await, 0);
    let proxy = stage.proxy().await;
    proxy.put(T1, body(T1, "again")).await;
    assert_in_step(&couch, "again").await;
    assert_followed(&couch, &proxy).await;
    stage.end().await;
}

/// A conflict that was there before is one in every version.
#[tokio::test]
async fn a_conflict_from_before_is_shown_and_resolved_everywhere() {
    let mut stage = Stage::new().await;
    let couch = stage.direct();
    copy(&couch, &ALL.map(|id| (id, "a"))).await;
    let mut other = body(T3, "b");
    other["_id"] = json!(T3);
    other["_rev"] = json!(format!("1-{}", "0".repeat(32)));
    let batch = json!({"new_edits": false, "docs": [other]});
    assert_eq!(couch.ask("POST", "_bulk_docs", batch.to_string()).await.status, 201);
    stage.backfill().await;
    for id in [T1, T2, T3] {
        assert_eq!(couch.leaves(id).await.len(), 2, "{id}");
        assert_eq!(couch.get(id).await["title"], "a", "{id}");
    }
    let proxy = stage.proxy().await;
    let loser = format!("1-{}", "0".repeat(32));
    assert_eq!(proxy.ask("DELETE", &format!("{T3}?rev={loser}"), "").await.status, 200);
    assert_in_step(&couch, "a").await;
    stage.end().await;
}

/// A device restores only its newest classes to a fresh server; later what these were made of comes back.
#[tokio::test]
async fn versions_whose_origin_is_gone_are_carried_from_the_newest() {
    let (mut lost, mut fresh) = (Stage::new().await, Stage::new().await);
    let (from, to) = (lost.direct(), fresh.direct());
    let proxy = lost.proxy().await;
    proxy.put(T1, body(T1, "a")).await;
    edit(&proxy, T1, "b").await;
    replicate(&from, &to, |id| [T3, S].contains(&id)).await;
    assert_eq!(fresh.backfill().await, 2);
    assert_in_step(&to, "b").await;
    let proxy = fresh.proxy().await;
    edit(&proxy, T1, "c").await;
    assert_in_step(&to, "c").await;
    replicate(&from, &to, |_| true).await;
    fresh.backfill().await;
    assert_in_step(&to, "c").await;
    assert_followed(&to, &proxy).await;
    lost.end().await;
    fresh.end().await;
}

/// The embedded upstream has no `_purge`.
#[tokio::test]
async fn what_was_purged_comes_back_with_the_next_edit() {
    if std::env::var("COUCHDB_URL").is_err() {
        return;
    }
    for purged in [T1, T2, T3] {
        let mut stage = Stage::new().await;
        let couch = stage.direct();
        let proxy = stage.proxy().await;
        proxy.put(T1, body(T1, "a")).await;
        edit(&proxy, T3, "b").await;
        let purge = json!({purged: [couch.rev(purged).await]}).to_string();
        let answer = couch.ask("POST", "_purge", purge).await;
        assert_eq!(answer.body["purged"][purged].as_array().unwrap().len(), 1, "{answer:?}");
        let next = if purged == T2 { T1 } else { T2 };
        edit(&proxy, next, "c").await;
        assert_in_step(&couch, "c").await;
        assert_followed(&couch, &proxy).await;
        stage.end().await;
    }
}
