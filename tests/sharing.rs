//! Documents that older versions embed and newer ones refer to: made once, and followed by all that embed them.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/stage.rs"]
mod stage;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use chesterfield::{
    fanout::AT_ONCE,
    follower::Settings,
    upstream::{Body, UpstreamService, body::full},
};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use stage::{Asking, Stage};
use tower::{Service, service_fn};

const GARDEN: &str = "group:garden:v:1";

async fn stage() -> Stage {
    Stage::of(Path::new("examples/planner/schemas")).await
}

fn task_1(text: &str, name: &str, color: &str) -> Value {
    json!({"schema": "task", "version": 1, "text": text, "group": {"name": name, "color": color}})
}

fn task_3(title: &str, group: &str) -> Value {
    json!({"schema": "task", "version": 3, "title": title, "groupId": group})
}

fn group(name: &str, color: &str) -> Value {
    json!({"schema": "group", "version": 1, "name": name, "color": color})
}

/// On top of what is there.
async fn edit(proxy: &Asking, id: &str, mut document: Value) {
    document["_rev"] = proxy.rev(id).await.into();
    proxy.put(id, document).await;
}

async fn bulk(proxy: &Asking, docs: Vec<Value>) {
    let answer = proxy.ask("POST", "_bulk_docs", json!({"docs": docs}).to_string()).await;
    assert!(answer.status.is_success(), "{answer:?}");
    for row in answer.body.as_array().unwrap() {
        assert_eq!(row.get("error"), None, "{row}");
    }
}

fn with_id(mut document: Value, id: &str) -> Value {
    document["_id"] = id.into();
    document
}

/// What all versions show of one task.
async fn assert_shows(couch: &Asking, key: &str, title: &str, group: &str, embedded: Value) {
    let [one, two, three] = [1, 2, 3].map(|version| format!("task:{key}:v:{version}"));
    assert_eq!(couch.get(&three).await, task_3(title, group), "{key}");
    let two = couch.get(&two).await;
    assert_eq!((&two["title"], &two["group"]), (&title.into(), &embedded), "{key}");
    let one = couch.get(&one).await;
    assert_eq!((&one["text"], &one["group"]), (&title.into(), &embedded), "{key}");
}

async fn assert_no_conflict(couch: &Asking, ids: &[&str]) {
    for id in ids {
        let leaves = couch.leaves(id).await;
        assert!(leaves.len() < 2, "{id}: {leaves:?}");
    }
}

#[tokio::test]
async fn what_is_embedded_becomes_a_document_and_is_followed() {
    let mut stage = stage().await;
    let proxy = stage.proxy().await;
    let green = json!({"name": "garden", "color": "green"});
    proxy
        .put("task:a:v:1", task_1("Water the roses", "garden", "green"))
        .await;
    proxy.put("task:b:v:1", task_1("Mow the lawn", "garden", "green")).await;
    assert_eq!(proxy.get(GARDEN).await, group("garden", "green"));
    assert_shows(&proxy, "a", "Water the roses", "garden", green.clone()).await;
    proxy.put("task:c:v:3", task_3("Trim the hedge", "garden")).await;
    assert_shows(&proxy, "c", "Trim the hedge", "garden", green).await;
    edit(&proxy, GARDEN, group("Park", "blue")).await;
    let blue = json!({"name": "Park", "color": "blue"});
    for (key, title) in [("a", "Water the roses"), ("b", "Mow the lawn"), ("c", "Trim the hedge")] {
        assert_shows(&proxy, key, title, "garden", blue.clone()).await;
    }
    // An old client edits another field: the reference stays, though the group is called otherwise by now.
    edit(&proxy, "task:a:v:1", task_1("Water the tulips", "Park", "blue")).await;
    assert_shows(&proxy, "a", "Water the tulips", "garden", blue).await;
    assert_no_conflict(&proxy, &["task:a:v:1", "task:a:v:2", "task:a:v:3", GARDEN]).await;
    stage.end().await;
}

/// Two proxies, so that nothing in one process keeps them apart.
#[tokio::test]
async fn what_several_embed_at_once_is_made_once() {
    let mut stage = stage().await;
    let proxies = [stage.proxy().await, stage.proxy().await];
    let write = async |n: usize, color: &str| {
        let id = format!("task:{n}:v:1");
        proxies[n % 2].put(&id, task_1("Dig", "garden", color)).await;
    };
    tokio::join!(
        write(0, "green"),
        write(1, "green"),
        write(2, "green"),
        write(3, "green")
    );
    let leaves = proxies[0].leaves(GARDEN).await;
    assert_eq!(leaves.len(), 1, "{leaves:?}");
    assert!(leaves[0]["_rev"].as_str().unwrap().starts_with("1-"), "{leaves:?}");
    // What differs is settled in favour of one, which all show.
    let write = async |n: usize, color: &str| {
        let id = format!("task:{n}:v:1");
        proxies[n % 2].put(&id, task_1("Dig", "work", color)).await;
    };
    tokio::join!(write(4, "red"), write(5, "blue"), write(6, "green"), write(7, "white"));
    stage.backfill().await;
    assert_no_conflict(&proxies[0], &["group:work:v:1"]).await;
    let color = proxies[0].get("group:work:v:1").await["color"].clone();
    for n in 4..8 {
        let embedded = json!({"name": "work", "color": color});
        assert_shows(&proxies[0], &n.to_string(), "Dig", "work", embedded).await;
    }
    stage.end().await;
}

#[tokio::test]
async fn another_name_in_an_older_version_refers_to_another_document() {
    let mut stage = stage().await;
    let proxy = stage.proxy().await;
    proxy.put("task:a:v:1", task_1("Dig", "garden", "green")).await;
    proxy.put("task:b:v:1", task_1("Mow", "garden", "green")).await;
    proxy.put("group:work:v:1", group("work", "red")).await;
    // The color that its author made up counts for nothing: there is such a group.
    edit(&proxy, "task:a:v:1", task_1("Dig", "work", "green")).await;
    assert_shows(&proxy, "a", "Dig", "work", json!({"name": "work", "color": "red"})).await;
    assert_shows(
        &proxy,
        "b",
        "Mow",
        "garden",
        json!({"name": "garden", "color": "green"}),
    )
    .await;
    edit(&proxy, "task:a:v:1", task_1("Dig", "Küche & Bad", "blue")).await;
    let key = proxy.get("task:a:v:3").await["groupId"].as_str().unwrap().to_owned();
    assert!(key.starts_with("k-che-bad-"), "{key}");
    let id = format!("group:{key}:v:1");
    assert_eq!(proxy.get(&id).await, group("Küche & Bad", "blue"));
    assert_eq!(proxy.get(GARDEN).await, group("garden", "green"));
    assert_no_conflict(&proxy, &["task:a:v:1", "task:a:v:2", "task:a:v:3", &id]).await;
    stage.end().await;
}

#[tokio::test]
async fn a_shared_document_that_is_deleted_is_its_default() {
    let mut stage = stage().await;
    let proxy = stage.proxy().await;
    proxy.put("task:a:v:1", task_1("Dig", "garden", "green")).await;
    let rev = proxy.rev(GARDEN).await;
    assert!(
        proxy
            .ask("DELETE", &format!("{GARDEN}?rev={rev}"), "")
            .await
            .status
            .is_success()
    );
    let none = json!({"name": "none", "color": "grey"});
    assert_shows(&proxy, "a", "Dig", "garden", none.clone()).await;
    // An edit elsewhere does not bring it back, nor does it make a group of the default.
    edit(&proxy, "task:a:v:1", task_1("Dig deep", "none", "grey")).await;
    assert_shows(&proxy, "a", "Dig deep", "garden", none).await;
    assert_eq!(proxy.get(GARDEN).await, Value::Null);
    assert_eq!(proxy.get("group:none:v:1").await, Value::Null);
    proxy.put(GARDEN, group("garden", "red")).await;
    assert_shows(
        &proxy,
        "a",
        "Dig deep",
        "garden",
        json!({"name": "garden", "color": "red"}),
    )
    .await;
    stage.end().await;
}

/// Written in the newest version before what it refers to is there.
#[tokio::test]
async fn what_refers_to_nothing_yet_is_followed_when_it_comes() {
    let mut stage = stage().await;
    let proxy = stage.proxy().await;
    proxy.put("task:a:v:3", task_3("Dig", "garden")).await;
    assert_shows(&proxy, "a", "Dig", "garden", json!({"name": "none", "color": "grey"})).await;
    proxy.put(GARDEN, group("garden", "green")).await;
    assert_shows(
        &proxy,
        "a",
        "Dig",
        "garden",
        json!({"name": "garden", "color": "green"}),
    )
    .await;
    // Whatever a client writes for a reference does no harm.
    for (n, reference) in ["", "a:v:1", "_design/x", "\u{0}"].into_iter().enumerate() {
        proxy
            .ask(
                "PUT",
                &format!("task:odd-{n}:v:3"),
                task_3("Odd", reference).to_string(),
            )
            .await;
    }
    edit(&proxy, GARDEN, group("garden", "red")).await;
    assert_shows(&proxy, "a", "Dig", "garden", json!({"name": "garden", "color": "red"})).await;
    stage.end().await;
}

/// More than is reconciled at once.
const MANY: usize = 2 * AT_ONCE + 1;

async fn assert_all_show(couch: &Asking, color: &str) {
    let answer = couch
        .ask(
            "GET",
            "_all_docs?include_docs=true&startkey=%22task:%22&endkey=%22task%3B%22",
            "",
        )
        .await;
    let rows = answer.body["rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 3 * MANY);
    for row in rows.iter().filter(|row| row["doc"]["version"] != 3) {
        assert_eq!(row["doc"]["group"]["color"], color, "{row}");
    }
}

#[tokio::test]
async fn any_number_of_documents_follow() {
    let mut stage = stage().await;
    let proxy = stage.proxy().await;
    let tasks = (0..MANY).map(|n| with_id(task_1("Dig", "garden", "green"), &format!("task:{n}:v:1")));
    bulk(&proxy, tasks.collect()).await;
    assert_all_show(&proxy, "green").await;
    assert_no_conflict(&proxy, &[GARDEN]).await;
    edit(&proxy, GARDEN, group("garden", "blue")).await;
    assert_all_show(&proxy, "blue").await;
    stage.end().await;
}

/// The second page cannot be read: the first has been followed, and whoever looks next does the rest.
#[tokio::test]
async fn what_was_cut_off_half_way_is_made_up_for() {
    let pages = Arc::new(AtomicUsize::new(0));
    let counted = pages.clone();
    let cut_off = |inner: UpstreamService| {
        UpstreamService::new(service_fn(move |request: Request<Body>| {
            let is_page = request.uri().path().ends_with("/_find");
            let n = counted.fetch_add(usize::from(is_page), Ordering::Relaxed);
            let mut inner = inner.clone();
            async move {
                if is_page && n == 1 {
                    let mut answer = Response::new(full("{}"));
                    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    return Ok(answer);
                }
                inner.call(request).await
            }
        }))
    };
    let mut stage = Stage::build(Path::new("examples/planner/schemas"), cut_off).await;
    let proxy = stage.proxy().await;
    proxy.put(GARDEN, group("garden", "green")).await;
    pages.store(0, Ordering::Relaxed);
    let tasks = (0..MANY).map(|n| with_id(task_3("Dig", "garden"), &format!("task:{n}:v:3")));
    bulk(&proxy, tasks.collect()).await;
    assert_all_show(&proxy, "green").await;
    assert_eq!(
        pages.load(Ordering::Relaxed),
        0,
        "who refers to what is there is not looked up"
    );
    edit(&proxy, GARDEN, group("garden", "blue")).await;
    assert_eq!(pages.load(Ordering::Relaxed), 2);
    let blue = json!({"selector": {"group.color": "blue"}, "fields": ["_id"], "limit": 5 * MANY});
    let found = proxy.ask("POST", "_find", blue.to_string()).await;
    assert_eq!(
        found.body["docs"].as_array().unwrap().len(),
        2 * AT_ONCE,
        "one page of two versions"
    );
    assert_eq!(stage.backfill().await, 2 * (MANY - AT_ONCE));
    assert_all_show(&proxy, "blue").await;
    assert_eq!(stage.backfill().await, 0);
    stage.end().await;
}

/// As a real CouchDB is followed; the embedded store tells nobody which databases change.
fn at_once(settings: &mut Settings) {
    if std::env::var("COUCHDB_URL").is_err() {
        settings.sweep = Duration::from_millis(20);
    }
}

#[tokio::test]
async fn what_is_written_past_the_proxy_is_followed() {
    let stage = stage().await;
    let couch = stage.direct();
    let follower = stage.follow(at_once);
    couch.put("task:a:v:1", task_1("Dig", "garden", "green")).await;
    couch.until(async || couch.get(GARDEN).await != Value::Null).await;
    edit(&couch, GARDEN, group("garden", "blue")).await;
    couch
        .until(async || couch.get("task:a:v:1").await["group"]["color"] == "blue")
        .await;
    stage.end().await;
    follower.ended().await;
}

/// A proxy that has carried a shared document, but could not find who embeds it, has not seen it all.
#[tokio::test]
async fn what_a_proxy_could_not_follow_its_follower_does() {
    let is_armed = Arc::new(AtomicBool::new(false));
    let armed = is_armed.clone();
    let cut_off = |inner: UpstreamService| {
        UpstreamService::new(service_fn(move |request: Request<Body>| {
            let fails = request.uri().path().ends_with("/_find") && armed.swap(false, Ordering::Relaxed);
            let mut inner = inner.clone();
            async move {
                if fails {
                    let mut answer = Response::new(full("{}"));
                    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    return Ok(answer);
                }
                inner.call(request).await
            }
        }))
    };
    let mut stage = Stage::build(Path::new("examples/planner/schemas"), cut_off).await;
    let (proxy, follower) = stage.proxy_that_follows(at_once).await;
    proxy.put("task:a:v:1", task_1("Dig", "garden", "green")).await;
    follower.wake(&stage.db);
    follower.rested().await;
    is_armed.store(true, Ordering::Relaxed);
    edit(&proxy, GARDEN, group("garden", "blue")).await;
    proxy
        .until(async || proxy.get("task:a:v:1").await["group"]["color"] == "blue")
        .await;
    assert!(!is_armed.load(Ordering::Relaxed), "nothing was cut off");
    stage.end().await;
    follower.ended().await;
}
