//! Two masters, each with a proxy of its own, that replicate both ways: an edit made or carried on both is one edit.

use serde_json::json;

use super::{
    ALL, S, T1, T2, T3, assert_followed, assert_in_step, body, copy, edit,
    replication::{history, replicate},
    stage::{Asking, Stage},
};

struct Masters {
    stages: [Stage; 2],
    couches: [Asking; 2],
    proxies: [Asking; 2],
}

impl Masters {
    async fn new() -> Self {
        let mut stages = [Stage::new().await, Stage::new().await];
        let couches = [stages[0].direct(), stages[1].direct()];
        let proxies = [stages[0].proxy().await, stages[1].proxy().await];
        Self {
            stages,
            couches,
            proxies,
        }
    }

    /// What one has, the other has; nobody has looked at it.
    async fn meet(&self) {
        let [a, b] = &self.couches;
        replicate(a, b, |_| true).await;
        replicate(b, a, |_| true).await;
    }

    /// Answers how many revisions were written.
    async fn look(&self) -> usize {
        self.stages[0].backfill().await + self.stages[1].backfill().await
    }

    /// They have the same revisions of every document.
    async fn assert_same(&self) {
        for id in ALL {
            assert_eq!(
                history(&self.couches[0], id).await,
                history(&self.couches[1], id).await,
                "{id}"
            );
        }
    }

    /// They have met, and there is nothing to do.
    async fn assert_one(&self, title: &str) {
        self.meet().await;
        self.assert_same().await;
        assert_in_step(&self.couches[0], title).await;
        assert_eq!(self.look().await, 0);
    }

    async fn end(self) {
        for stage in self.stages {
            stage.end().await;
        }
    }
}

#[tokio::test]
async fn the_same_edit_on_both_is_one() {
    for id in [T1, T2, T3] {
        let masters = Masters::new().await;
        masters.proxies[0].put(T1, body(T1, "a")).await;
        masters.assert_one("a").await;
        for proxy in &masters.proxies {
            edit(proxy, id, "b").await;
        }
        // Even before they meet.
        masters.assert_same().await;
        masters.assert_one("b").await;
        assert_followed(&masters.couches[1], &masters.proxies[1]).await;
        masters.assert_one("again").await;
        masters.end().await;
    }
}

#[tokio::test]
async fn the_same_todo_that_is_made_on_both_is_one() {
    for id in [T1, T3] {
        let masters = Masters::new().await;
        for proxy in &masters.proxies {
            proxy.put(id, body(id, "a")).await;
            if id == T3 {
                proxy.put(S, body(S, "")).await;
            }
        }
        masters.assert_same().await;
        masters.assert_one("a").await;
        assert_followed(&masters.couches[0], &masters.proxies[0]).await;
        masters.end().await;
    }
}

/// Replicated before anybody has looked, and carried on both.
#[tokio::test]
async fn an_edit_that_is_carried_on_both_is_one() {
    for id in [T1, T2, T3] {
        let masters = Masters::new().await;
        masters.proxies[0].put(T1, body(T1, "a")).await;
        masters.assert_one("a").await;
        edit(&masters.couches[0], id, "b").await;
        edit(&masters.couches[0], id, "c").await;
        masters.meet().await;
        assert_eq!(masters.look().await, 4 + 2 * usize::from(id == T1));
        masters.assert_same().await;
        masters.assert_one("c").await;
        masters.end().await;
    }
}

/// Each has made a part of what the other carries: edits of title and status do not conflict.
#[tokio::test]
async fn edits_of_two_documents_of_one_version_are_no_conflict() {
    let masters = Masters::new().await;
    masters.proxies[0].put(T1, body(T1, "a")).await;
    masters.assert_one("a").await;
    edit(&masters.proxies[0], T2, "b").await;
    let mut status = body(S, "");
    status["status"] = json!("done");
    status["_rev"] = json!(masters.proxies[1].rev(S).await);
    masters.proxies[1].put(S, status).await;
    masters.meet().await;
    masters.look().await;
    masters.assert_one("b").await;
    assert_eq!(masters.couches[0].get(T1).await["isDone"], true);
    masters.end().await;
}

/// One conflict, the same on both, and not one for each that carried it.
#[tokio::test]
async fn different_edits_are_one_conflict_and_resolved_once() {
    let masters = Masters::new().await;
    masters.proxies[0].put(T1, body(T1, "a")).await;
    masters.assert_one("a").await;
    edit(&masters.proxies[0], T1, "b").await;
    edit(&masters.proxies[1], T3, "c").await;
    masters.meet().await;
    masters.assert_same().await;
    assert_eq!(masters.look().await, 0);
    for id in [T1, T2, T3] {
        let leaves = masters.couches[0].leaves(id).await;
        assert_eq!(leaves.len(), 2, "{id}: {leaves:?}");
    }
    // By the same client, on both.
    for proxy in &masters.proxies {
        let shown = proxy.rev(T3).await;
        let leaves = proxy.leaves(T3).await;
        let loser = leaves.iter().find(|leaf| leaf["_rev"] != shown).unwrap()["_rev"]
            .as_str()
            .unwrap();
        assert_eq!(proxy.ask("DELETE", &format!("{T3}?rev={loser}"), "").await.status, 200);
    }
    masters.assert_same().await;
    let shown = masters.couches[0].get(T3).await["title"].as_str().unwrap().to_owned();
    masters.assert_one(&shown).await;
    assert_followed(&masters.couches[1], &masters.proxies[1]).await;
    masters.end().await;
}

/// Copies from before are brought together on both.
#[tokio::test]
async fn copies_that_both_bring_together_are_one() {
    for titles in [["a", "a", "a"], ["one", "two", "three"]] {
        let masters = Masters::new().await;
        let docs = [(T1, titles[0]), (T2, titles[1]), (T3, titles[2]), (S, "")];
        copy(&masters.couches[0], &docs).await;
        masters.meet().await;
        masters.look().await;
        masters.assert_same().await;
        masters.assert_one(titles[2]).await;
        assert_followed(&masters.couches[1], &masters.proxies[1]).await;
        masters.assert_one("again").await;
        masters.end().await;
    }
}

/// Each has a version that the other lacks, made by hand.
#[tokio::test]
async fn copies_that_meet_after_each_was_carried_are_a_conflict() {
    let masters = Masters::new().await;
    copy(&masters.couches[0], &[(T1, "old")]).await;
    copy(&masters.couches[1], &[(T3, "new"), (S, "")]).await;
    masters.look().await;
    for (couch, title) in masters.couches.iter().zip(["old", "new"]) {
        assert_in_step(couch, title).await;
    }
    masters.meet().await;
    masters.look().await;
    masters.meet().await;
    masters.assert_same().await;
    for id in [T1, T2, T3] {
        assert_eq!(masters.couches[0].leaves(id).await.len(), 2, "{id}");
    }
    masters.end().await;
}
