//! What is written past every proxy is carried all the same.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/past.rs"]
mod past;
#[path = "support/stage.rs"]
mod stage;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use chesterfield::{follower::Settings, proxy::Databases, upstream::body::full};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use past::{Asked, checkpoint, ids, is_everywhere, noting, taken, todo, wrap};
use serde_json::{Value, json};
use stage::Stage;
use tokio::sync::Notify;
use tower::Service;

/// As a real CouchDB is followed; the embedded store tells nobody which databases change.
fn at_once(settings: &mut Settings) {
    if std::env::var("COUCHDB_URL").is_err() {
        settings.sweep = Duration::from_millis(20);
    }
}

#[tokio::test]
async fn what_is_written_past_the_proxy_appears_in_all_versions() {
    let stage = Stage::new().await;
    let couch = stage.direct();
    couch.put(&ids("old")[0], todo("there before")).await;
    let follower = stage.follow(at_once);
    couch
        .until(async || is_everywhere(&couch, "old", "there before").await)
        .await;
    couch.put(&ids("new")[0], todo("since then")).await;
    couch
        .until(async || is_everywhere(&couch, "new", "since then").await)
        .await;
    couch.put("plain", json!({"title": "of no class"})).await;
    let status = &ids("new")[3];
    let done = json!({"_rev": couch.rev(status).await, "schema": "todo-item-status", "version": 1, "status": "done"});
    couch.put(status, done).await;
    couch
        .until(async || couch.get(&ids("new")[0]).await["isDone"] == true)
        .await;
    stage.end().await;
    follower.ended().await;
}

#[tokio::test]
async fn what_a_proxy_left_undone_is_made_up_for() {
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = is_broken.clone();
    let fails = move |path: &str, _: &str| broken.load(Ordering::Relaxed) && path.ends_with("_bulk_docs");
    let mut stage = Stage::behind(noting(Asked::default(), fails)).await;
    let proxy = stage.proxy().await;
    proxy.put(&ids("a")[0], todo("left undone")).await;
    assert_eq!(proxy.get(&ids("a")[1]).await, Value::Null);
    // The proxy is gone; another process follows, and is refused until the upstream is mended.
    stage.ended().await;
    let follower = stage.follow(|_| ());
    is_broken.store(false, Ordering::Relaxed);
    let couch = stage.direct();
    couch
        .until(async || is_everywhere(&couch, "a", "left undone").await)
        .await;
    stage.end().await;
    follower.ended().await;
}

#[tokio::test]
async fn what_fails_in_a_process_is_made_up_for_in_it() {
    let failures = Arc::new(AtomicUsize::new(1));
    let left = failures.clone();
    let fails = move |path: &str, _: &str| {
        let own_write = path.ends_with("_bulk_docs");
        own_write
            && left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
    };
    let mut stage = Stage::behind(noting(Asked::default(), fails)).await;
    let (proxy, follower) = stage.proxy_that_follows(|_| ()).await;
    follower.rested().await;
    proxy.put(&ids("a")[0], todo("a")).await;
    assert_eq!(failures.load(Ordering::Relaxed), 0);
    proxy.until(async || is_everywhere(&proxy, "a", "a").await).await;
    stage.end().await;
    follower.ended().await;
}

#[tokio::test]
async fn what_has_been_read_is_not_read_again() {
    let asked = Asked::default();
    let mut stage = Stage::behind(noting(asked.clone(), |_, _| false)).await;
    let couch = stage.direct();
    for key in ["a", "b", "c"] {
        couch.put(&ids(key)[0], todo(key)).await;
    }
    let follower = stage.follow(|_| ());
    couch.until(async || is_everywhere(&couch, "c", "c").await).await;
    follower.wake(&stage.db);
    follower.rested().await;
    stage.stop_following();
    follower.ended().await;
    let kept = checkpoint(&stage).await;
    assert!(
        kept.get("backfill").is_none() && kept["classes"].get("todo-item@1").is_some(),
        "{kept}"
    );

    couch.put(&ids("d")[0], todo("d")).await;
    taken(&asked, "");
    let follower = stage.follow(|_| ());
    couch.until(async || is_everywhere(&couch, "d", "d").await).await;
    follower.wake(&stage.db);
    follower.rested().await;
    let all = asked.lock().unwrap().clone();
    let read: Vec<_> = all.iter().filter(|(path, _)| path.contains("_bulk_get")).collect();
    assert_eq!(read.len(), 1, "{all:?}");
    assert!(
        read[0].1.contains("todo-item:d:v:1") && !read[0].1.contains("todo-item:c:v:1"),
        "{read:?}"
    );
    assert!(
        !all.iter()
            .any(|(path, _)| path.contains("since=0") || path.contains("_all_docs")),
        "{all:?}"
    );
    stage.end().await;
    follower.ended().await;
}

#[tokio::test]
async fn what_the_same_process_has_carried_is_not_looked_at() {
    let asked = Asked::default();
    let mut stage = Stage::behind(noting(asked.clone(), |_, _| false)).await;
    let (proxy, follower) = stage.proxy_that_follows(|_| ()).await;
    follower.wake(&stage.db);
    follower.rested().await;
    proxy.put(&ids("a")[0], todo("a")).await;
    assert!(is_everywhere(&proxy, "a", "a").await);
    taken(&asked, "");
    follower.wake(&stage.db);
    follower.rested().await;
    assert_eq!(taken(&asked, "_bulk_get"), [], "nothing is read again");
    // The same document, in a database that was made anew, is another one.
    let couch = stage.direct();
    assert_eq!(couch.ask("DELETE", "", "").await.status, StatusCode::OK);
    assert_eq!(couch.ask("PUT", "", "").await.status, StatusCode::CREATED);
    follower.wake(&stage.db);
    follower.rested().await;
    couch.put(&ids("a")[0], todo("a")).await;
    follower.wake(&stage.db);
    couch.until(async || is_everywhere(&couch, "a", "a").await).await;
    stage.end().await;
    follower.ended().await;
}

#[tokio::test]
async fn a_batch_that_was_written_in_part_is_completed() {
    // What a proxy writes of its own account arrives without one of its documents, as when a server dies between two shards.
    let is_cut = Arc::new(AtomicBool::new(true));
    let cuts = is_cut.clone();
    let mut stage = Stage::behind(move |inner| {
        wrap(inner, move |request, mut inner| {
            let cuts = cuts.clone();
            async move {
                if !request.uri().path().ends_with("_bulk_docs") || !cuts.load(Ordering::Relaxed) {
                    return inner.call(request).await;
                }
                let (mut head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let mut batch: Value = serde_json::from_slice(&body).unwrap();
                let docs = batch["docs"].as_array_mut().unwrap();
                docs.retain(|document| !document["_id"].as_str().unwrap().ends_with(":v:2"));
                head.headers.remove("content-length");
                inner.call(Request::from_parts(head, full(batch.to_string()))).await
            }
        })
    })
    .await;
    let couch = stage.direct();
    let follower = stage.follow(|_| ());
    follower.wake(&stage.db);
    follower.rested().await;
    let proxy = stage.proxy().await;
    let [one, two, three, _] = ids("a");
    proxy.put(&one, todo("a")).await;
    // An edit of version 3 covers it, and no leaf of version 1 or 3 tells that version 2 lacks both.
    proxy
        .put(
            &three,
            json!({"_rev": proxy.rev(&three).await, "title": "b", "group": "x"}),
        )
        .await;
    proxy
        .put(
            &one,
            json!({"_rev": proxy.rev(&one).await, "title": "c", "isDone": false}),
        )
        .await;
    assert_eq!(couch.get(&two).await, Value::Null);
    stage.ended().await;
    is_cut.store(false, Ordering::Relaxed);
    follower.wake(&stage.db);
    couch.until(async || is_everywhere(&couch, "a", "c").await).await;
    stage.end().await;
    follower.ended().await;
}

#[tokio::test]
async fn derived_revisions_that_come_alone_are_carried() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let [one, _, three, _] = ids("a");
    proxy.put(&one, todo("a")).await;
    let alone = proxy.ask("GET", &format!("{three}?revs=true"), "").await.body;
    // A server that has never seen the edit itself.
    let couch = stage.direct();
    assert_eq!(couch.ask("DELETE", "", "").await.status, StatusCode::OK);
    assert_eq!(couch.ask("PUT", "", "").await.status, StatusCode::CREATED);
    let follower = stage.follow(|_| ());
    follower.wake(&stage.db);
    follower.rested().await;
    let body = json!({"new_edits": false, "docs": [alone]}).to_string();
    assert_eq!(couch.ask("POST", "_bulk_docs", body).await.status, StatusCode::CREATED);
    let status = json!({"schema": "todo-item-status", "version": 1, "status": "active"});
    couch.put(&ids("a")[3], status).await;
    follower.wake(&stage.db);
    couch.until(async || is_everywhere(&couch, "a", "a").await).await;
    stage.end().await;
    follower.ended().await;
}

#[tokio::test]
async fn an_entity_that_cannot_be_read_holds_up_no_other() {
    let (asked, is_poisoned) = (Asked::default(), Arc::new(AtomicBool::new(true)));
    let poisoned = is_poisoned.clone();
    let fails = move |path: &str, body: &str| {
        poisoned.load(Ordering::Relaxed) && path.contains("_bulk_get") && body.contains("todo-item:poison:")
    };
    let stage = Stage::behind(noting(asked.clone(), fails)).await;
    let couch = stage.direct();
    let keys: Vec<String> = (0..40).map(|n| format!("k{n}")).chain(["poison".to_owned()]).collect();
    let docs = keys.iter().map(|key| {
        let mut document = todo(key);
        document["_id"] = json!(ids(key)[0]);
        document
    });
    let body = json!({"docs": docs.collect::<Vec<_>>()}).to_string();
    assert_eq!(couch.ask("POST", "_bulk_docs", body).await.status, StatusCode::CREATED);
    let follower = stage.follow(|_| ());
    for key in &keys[..40] {
        couch.until(async || is_everywhere(&couch, key, key).await).await;
    }
    let read = asked
        .lock()
        .unwrap()
        .iter()
        .filter(|(path, _)| path.contains("_bulk_get"))
        .count();
    assert!(read < 20, "{read} requests to find one among {}", keys.len());
    // The feed goes on, past it.
    couch.put(&ids("later")[0], todo("later")).await;
    follower.wake(&stage.db);
    couch
        .until(async || is_everywhere(&couch, "later", "later").await)
        .await;
    follower.rested().await;
    let kept = checkpoint(&stage).await;
    assert_eq!(kept["failed"].as_array().unwrap().len(), 1, "{kept}");
    assert!(kept["failed"][0].as_str().unwrap().contains("poison"), "{kept}");
    // It is not forgotten.
    is_poisoned.store(false, Ordering::Relaxed);
    follower.sweep();
    couch
        .until(async || is_everywhere(&couch, "poison", "poison").await)
        .await;
    follower.rested().await;
    assert!(checkpoint(&stage).await.get("failed").is_none());
    stage.end().await;
    follower.ended().await;
}

#[tokio::test]
async fn of_many_databases_a_few_are_looked_at_at_once() {
    const AT_ONCE: usize = 3;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, peak) = (now.clone(), most.clone());
    let stage = Stage::behind(move |inner| {
        wrap(inner, move |request, mut inner| {
            let (count, peak) = (count.clone(), peak.clone());
            async move {
                let is_named = request.uri().path().starts_with("/_");
                if is_named {
                    return inner.call(request).await;
                }
                peak.fetch_max(count.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                let answer = inner.call(request).await;
                count.fetch_sub(1, Ordering::Relaxed);
                answer
            }
        })
    })
    .await;
    let couch = stage.direct();
    let how_many = if std::env::var("COUCHDB_URL").is_ok() { 40 } else { 300 };
    let names: Vec<String> = (0..how_many).map(|n| format!("{}-of-many-{n}", stage.db)).collect();
    let id = &ids("a")[0];
    for name in &names {
        couch.ask_server("PUT", name, "").await;
        couch
            .ask_server("PUT", &format!("{name}/{id}"), todo("a").to_string())
            .await;
    }
    let patterns = format!("{}-of-many-*", stage.db);
    let follower = stage.follow(|settings| {
        settings.databases = Databases::new([&patterns]).unwrap();
        settings.patterns = vec![patterns.clone()];
        settings.at_once = AT_ONCE;
    });
    for name in &names {
        follower.wake(name);
    }
    follower.rested().await;
    for name in &names {
        let third = couch.ask_server("GET", &format!("{name}/{}", ids("a")[2]), "").await;
        assert_eq!(third.body["title"], "a", "{name}");
        couch.ask_server("DELETE", name, "").await;
    }
    let most = most.load(Ordering::Relaxed);
    assert!((1..=AT_ONCE).contains(&most), "{most} requests at once");
    stage.end().await;
    follower.ended().await;
}

/// A term that is over soon.
const TERM: Duration = Duration::from_secs(2);

#[tokio::test]
async fn proxies_share_the_databases_evenly() {
    let mut stage = Stage::new().await;
    let names: Vec<String> = (0..300).map(|n| format!("{}-{n}", stage.db)).collect();
    let patterns = format!("{}-*", stage.db);
    let share = |settings: &mut Settings| {
        settings.databases = Databases::new([&patterns]).unwrap();
        settings.patterns = vec![patterns.clone()];
        settings.lease = Some(TERM);
    };
    let a = stage.follow(share);
    let mut of_a = a.proxies().unwrap();
    of_a.wait_for(|count| *count == 1).await.unwrap();
    assert!(names.iter().all(|db| a.follows(db)), "nobody else is there");
    stage.keep_following();
    let b = stage.follow(share);
    let mut of_b = b.proxies().unwrap();
    of_a.wait_for(|count| *count == 2).await.unwrap();
    of_b.wait_for(|count| *count == 2).await.unwrap();
    assert!(names.iter().all(|db| a.follows(db) != b.follows(db)));
    let share_of_b = names.iter().filter(|db| b.follows(db)).count();
    assert!((100..200).contains(&share_of_b), "{share_of_b} of {}", names.len());
    // Who ends gives up its share at once.
    stage.stop_following();
    b.ended().await;
    of_a.wait_for(|count| *count == 1).await.unwrap();
    assert!(names.iter().all(|db| a.follows(db)));
    stage.end().await;
    a.ended().await;
}

#[tokio::test]
async fn the_share_of_a_proxy_that_has_died_is_taken_over() {
    let stage = Stage::new().await;
    let share = |settings: &mut Settings| {
        settings.lease = Some(TERM);
        at_once(settings);
    };
    let followers = [stage.follow(share), stage.follow(share)];
    for follower in &followers {
        follower.proxies().unwrap().wait_for(|count| *count == 2).await.unwrap();
    }
    let couch = stage.direct();
    couch.put(&ids("before")[0], todo("before")).await;
    couch
        .until(async || is_everywhere(&couch, "before", "before").await)
        .await;
    let (holders, others): (Vec<_>, Vec<_>) = followers.into_iter().partition(|follower| follower.follows(&stage.db));
    assert_eq!((holders.len(), others.len()), (1, 1));
    drop(holders);
    couch.put(&ids("after")[0], todo("after")).await;
    couch
        .until(async || is_everywhere(&couch, "after", "after").await)
        .await;
    assert!(others[0].follows(&stage.db));
    stage.end().await;
    for other in others {
        other.ended().await;
    }
}

#[tokio::test]
async fn who_is_told_of_updates_looks_at_what_has_changed() {
    let (updated, asked) = (Arc::new(Notify::new()), Asked::default());
    let (told, since) = (updated.clone(), asked.clone());
    let name = Arc::new(Mutex::new(String::new()));
    let shown = name.clone();
    let mut stage = Stage::behind(move |inner| {
        wrap(inner, move |request, mut inner| {
            let (told, since, shown) = (told.clone(), since.clone(), shown.clone());
            async move {
                let uri = request.uri().to_string();
                if !uri.starts_with("/_db_updates") {
                    return inner.call(request).await;
                }
                let place = since.lock().unwrap().len();
                since.lock().unwrap().push((uri, String::new()));
                if place > 0 {
                    told.notified().await;
                }
                let name = shown.lock().unwrap().clone();
                let row = |name: &str| json!({"db_name": name, "type": "updated", "seq": format!("{place}-x")});
                let rows = [row("_users"), row("elsewhere"), row(&name)];
                let answer = json!({"results": rows, "last_seq": format!("{place}-x")});
                Ok(Response::new(full(answer.to_string())))
            }
        })
    })
    .await;
    name.lock().unwrap().clone_from(&stage.db);
    let follower = stage.follow(|settings| settings.sweep = Duration::from_secs(3600));
    follower.wake(&stage.db);
    follower.rested().await;
    let couch = stage.direct();
    for key in ["a", "b"] {
        couch.put(&ids(key)[0], todo(key)).await;
        updated.notify_one();
        couch.until(async || is_everywhere(&couch, key, key).await).await;
    }
    stage.stop_following();
    follower.ended().await;
    let asked: Vec<String> = asked.lock().unwrap().iter().map(|(uri, _)| uri.clone()).collect();
    assert!(asked[0].contains("since=now"), "{asked:?}");
    for (place, uri) in asked.iter().enumerate().skip(1) {
        assert!(
            uri.contains("feed=longpoll") && uri.ends_with(&format!("since={}-x", place - 1)),
            "{asked:?}"
        );
    }
    assert!(asked.len() >= 3, "{asked:?}");
    stage.end().await;
}
