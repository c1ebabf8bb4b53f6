//! Histories that are stemmed and compacted while they are carried.

use serde_json::json;

use super::{
    ALL, S, T1, T2, T3, assert_in_step, body, edit,
    replication::{history, replicate},
    stage::Stage,
};

/// Histories are cut to a few revisions, and compacted while they are written; clients keep up.
#[tokio::test]
async fn edits_are_followed_while_histories_are_stemmed_and_compacted() {
    for limit in [4, 5, 6, 8, 10, 12] {
        let mut stage = Stage::stemming(limit).await;
        let couch = stage.direct();
        let proxies = [stage.proxy().await, stage.proxy().await];
        proxies[0].put(T1, body(T1, "0")).await;
        let mut random = fastrand::Rng::with_seed(limit);
        for n in 1..60 {
            let proxy = &proxies[random.usize(..2)];
            let id = ALL[random.usize(..4)];
            let title = format!("{limit} {n}");
            let compacting = async {
                if random.bool() {
                    couch.ask("POST", "_compact", "").await;
                }
            };
            if id == S {
                let mut status = body(S, "");
                let was = proxy.get(S).await["status"].clone();
                status["status"] = json!(if was == "done" { "active" } else { "done" });
                status["_rev"] = json!(proxy.rev(S).await);
                tokio::join!(proxy.put(S, status.clone()), compacting);
                assert_eq!(proxy.get(T1).await["isDone"], status["status"] == "done", "{title}");
            } else {
                tokio::join!(edit(proxy, id, &title), compacting);
                assert_in_step(&couch, &title).await;
            }
            for id in ALL {
                assert_eq!(couch.leaves(id).await.len(), 1, "seed {limit}, {n}: {id}");
            }
        }
        assert_eq!(stage.backfill().await, 0);
        stage.end().await;
    }
}

/// One master keeps a few revisions, the other all: edits go back and forth.
#[tokio::test]
async fn an_ancestor_that_one_master_has_cut_off_makes_no_conflict() {
    let (mut short, mut long) = (Stage::stemming(4).await, Stage::new().await);
    let couches = [short.direct(), long.direct()];
    let proxies = [short.proxy().await, long.proxy().await];
    proxies[1].put(T1, body(T1, "0")).await;
    replicate(&couches[1], &couches[0], |_| true).await;
    let mut random = fastrand::Rng::with_seed(7);
    for n in 1..30 {
        let at = random.usize(..2);
        for _ in 0..random.usize(1..3) {
            edit(&proxies[at], ALL[random.usize(..3)], &n.to_string()).await;
        }
        couches[at].ask("POST", "_compact", "").await;
        replicate(&couches[at], &couches[1 - at], |_| true).await;
        [&short, &long][1 - at].backfill().await;
        for couch in &couches {
            assert_in_step(couch, &n.to_string()).await;
        }
    }
    short.end().await;
    long.end().await;
}

/// What was edited past the proxies has been cut and compacted when they look at it.
#[tokio::test]
async fn what_was_cut_before_it_was_carried_arrives() {
    let mut stage = Stage::stemming(3).await;
    let couch = stage.direct();
    let proxy = stage.proxy().await;
    proxy.put(T1, body(T1, "a")).await;
    for (id, n) in [(T1, 2), (T3, 2), (T2, 1), (T1, 2), (T2, 2)] {
        for n in 0..n {
            edit(&couch, id, &format!("{id} {n}")).await;
        }
        couch.ask("POST", "_compact", "").await;
        stage.backfill().await;
        assert_in_step(&couch, &format!("{id} {}", n - 1)).await;
    }
    assert_eq!(history(&couch, T1).await[0].1.len(), 3);
    stage.end().await;
}
