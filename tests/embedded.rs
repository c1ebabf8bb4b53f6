//! The embedded store where the recordings do not reach: feeds that wake, leaves, races, what survives.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, path::Path, process::Command};

use bytes::Bytes;
use chesterfield::upstream::{Body, BoxError, embedded::Embedded};
use futures_util::{future::join_all, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};
use tower::ServiceExt;

async fn send(store: &Embedded, method: &str, path: &str, body: Body) -> Response<Body> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json");
    store
        .clone()
        .oneshot(request.header("content-length", "1").body(body).unwrap())
        .await
        .unwrap()
}

async fn ask(store: &Embedded, method: &str, path: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() {
        Bytes::new()
    } else {
        Bytes::from(body.to_string())
    };
    let response = send(
        store,
        method,
        path,
        Full::new(body).map_err(|e| match e {}).boxed_unsync(),
    )
    .await;
    let status = response.status().as_u16();
    let text = response.collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&text).unwrap_or(Value::Null))
}

/// What must succeed.
async fn ok(store: &Embedded, method: &str, path: &str, body: Value) -> Value {
    let (status, answer) = ask(store, method, path, body).await;
    assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    answer
}

async fn get(store: &Embedded, path: &str) -> Value {
    ok(store, "GET", path, Value::Null).await
}

/// A feed, read piece by piece.
struct Feed(Body);

impl Feed {
    async fn open(store: &Embedded, path: &str) -> Self {
        let nothing = Full::new(Bytes::new()).map_err(|e| match e {}).boxed_unsync();
        Self(send(store, "GET", path, nothing).await.into_body())
    }

    /// Up to the piece that holds `text`, or the end.
    async fn until(&mut self, text: &str) -> String {
        let mut read = String::new();
        while let Some(frame) = self.0.frame().await {
            read.push_str(str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
            if read.contains(text) {
                break;
            }
        }
        read
    }
}

async fn database() -> Embedded {
    let store = Embedded::memory();
    ok(&store, "PUT", "/db", Value::Null).await;
    store
}

#[tokio::test]
async fn feeds_stand_at_once_and_wake_on_a_write() {
    let store = database().await;
    let feeds = [("longpoll", "[\n\n"), ("continuous", "\n"), ("eventsource", "\n")];
    for (n, (feed, standing)) in feeds.into_iter().enumerate() {
        let path = format!("/db/_changes?feed={feed}&since=now&include_docs=true&limit=1");
        let mut feed = Feed::open(&store, &path).await;
        feed.until(standing).await;
        ok(&store, "PUT", &format!("/db/doc{n}"), json!({"n": n})).await;
        let rest = feed.until("the end").await;
        assert!(rest.contains(&format!("\"id\":\"doc{n}\"")), "{rest}");
        assert!(rest.contains(&format!("\"n\":{n}")), "{rest}");
    }
}

/// The storage announces a write only if somebody listens when its commit begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_wakes_on_a_write_that_had_begun_when_it_was_opened() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path()).await.unwrap();
    ok(&store, "PUT", "/db", Value::Null).await;
    for n in 0..300 {
        let (path, feed) = (
            format!("/db/doc{n}"),
            format!("/db/_changes?feed=longpoll&since={n}&timeout=5000"),
        );
        let read = async { Feed::open(&store, &feed).await.until("the end").await };
        let (_, answer) = tokio::join!(ok(&store, "PUT", &path, json!({})), read);
        assert!(answer.contains(&format!("\"id\":\"doc{n}\"")), "{answer}");
    }
}

#[tokio::test]
async fn a_feed_misses_nothing_that_is_written_while_it_is_read() {
    let store = database().await;
    let mut feed = Feed::open(&store, "/db/_changes?feed=continuous&limit=200").await;
    let writes = join_all((0..200).map(|n| {
        let store = store.clone();
        async move { ok(&store, "PUT", &format!("/db/d{n}"), json!({})).await }
    }));
    let (rows, _) = tokio::join!(feed.until("last_seq"), writes);
    let ids: BTreeSet<&str> = rows
        .lines()
        .filter_map(|row| row.split("\"id\":\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(ids.len(), 200);
}

#[tokio::test]
async fn a_batch_wakes_a_feed_once() {
    let store = database().await;
    let mut feed = Feed::open(&store, "/db/_changes?feed=continuous&since=now").await;
    feed.until("\n").await;
    let docs: Vec<Value> = (0..300).map(|n| json!({"_id": format!("d{n:03}")})).collect();
    ok(&store, "POST", "/db/_bulk_docs", json!({"docs": docs})).await;
    feed.until("d299").await;
    ok(&store, "PUT", "/db/next", json!({})).await;
    let row = feed.until("next").await;
    assert_eq!(row.lines().filter(|line| !line.is_empty()).count(), 1);
    assert!(row.starts_with('{'), "{row}");
}

/// Clients go away in the middle of requests; what they began is done or not done, never half.
#[tokio::test]
async fn an_abandoned_edit_leaves_no_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path()).await.unwrap();
    ok(&store, "PUT", "/db", Value::Null).await;
    let rev = ok(&store, "PUT", "/db/a", json!({})).await["rev"].clone();
    for n in 0..50 {
        let body = Full::new(Bytes::from(json!({"_rev": rev, "n": n}).to_string()));
        let request = Request::put("/db/a")
            .body(body.map_err(|e| match e {}).boxed_unsync())
            .unwrap();
        let mut abandoned = Box::pin(store.clone().oneshot(request));
        let _ = futures_util::poll!(&mut abandoned);
    }
    let (status, _) = ask(&store, "PUT", "/db/a", json!({"_rev": rev, "n": "last"})).await;
    assert_eq!(status, 409);
    assert_eq!(
        get(&store, "/db/_changes?style=all_docs").await["results"][0]["changes"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn heartbeats_come_while_nothing_is_written() {
    let store = database().await;
    let mut feed = Feed::open(&store, "/db/_changes?feed=continuous&since=now&heartbeat=10").await;
    assert_eq!(feed.until("\n\n\n").await, "\n\n\n");
    let mut feed = Feed::open(&store, "/db/_changes?feed=eventsource&since=now&heartbeat=10").await;
    assert_eq!(feed.until("heartbeat").await, "\nevent: heartbeat\ndata: \n\n");
}

#[tokio::test]
async fn feeds_end_with_their_database() {
    let store = database().await;
    let mut feed = Feed::open(&store, "/db/_changes?feed=continuous&since=now&heartbeat=60000").await;
    feed.until("\n").await;
    ok(&store, "DELETE", "/db", Value::Null).await;
    assert!(feed.until("the end").await.contains("last_seq"));
}

#[tokio::test]
async fn bulk_get_without_a_rev_answers_every_leaf() {
    let store = database().await;
    let docs = json!([
        {"_id": "a", "_rev": "2-b", "_revisions": {"start": 2, "ids": ["b", "x"]}, "v": "b"},
        {"_id": "a", "_rev": "2-a", "_revisions": {"start": 2, "ids": ["a", "x"]}, "v": "a"},
        {"_id": "a", "_rev": "3-c", "_revisions": {"start": 3, "ids": ["c", "y", "x"]}, "_deleted": true},
    ]);
    assert_eq!(
        ok(
            &store,
            "POST",
            "/db/_bulk_docs",
            json!({"new_edits": false, "docs": docs})
        )
        .await,
        json!([])
    );
    let asked = json!({"docs": [{"id": "a"}, {"id": "none"}, {"id": "a", "rev": "3-c"}]});
    let answer = ok(&store, "POST", "/db/_bulk_get?revs=true", asked).await;
    let rows: Vec<&Value> = answer["results"][0]["docs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["ok"])
        .collect();
    let revs: Vec<&str> = rows.iter().map(|doc| doc["_rev"].as_str().unwrap()).collect();
    assert_eq!(revs, ["2-b", "2-a", "3-c"]);
    assert_eq!(rows[2]["_deleted"], true);
    assert_eq!(rows[2]["_revisions"], json!({"start": 3, "ids": ["c", "y", "x"]}));
    assert_eq!(answer["results"][1]["docs"][0]["error"]["error"], "not_found");
    assert_eq!(answer["results"][2]["docs"][0]["ok"]["_rev"], "3-c");
    assert_eq!(get(&store, "/db/a?conflicts=true").await["_conflicts"], json!(["2-a"]));
}

#[tokio::test]
async fn one_of_many_edits_of_a_revision_wins() {
    let store = database().await;
    let rev = ok(&store, "PUT", "/db/a", json!({})).await["rev"].clone();
    let edits = (0..20).map(|n| ask(&store, "PUT", "/db/a", json!({"_rev": rev, "n": n})));
    let statuses: Vec<u16> = join_all(edits).await.into_iter().map(|(status, _)| status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 19);
    assert_eq!(
        get(&store, "/db/_changes?style=all_docs").await["results"][0]["changes"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn listings_are_whole_whatever_their_length() {
    let store = database().await;
    let ids: Vec<String> = (0..1201).map(|n| format!("d{n:04}")).collect();
    let docs: Vec<Value> = ids
        .iter()
        .map(|id| json!({"_id": id, "even": id.ends_with(['0', '2', '4', '6', '8'])}))
        .collect();
    ok(&store, "POST", "/db/_bulk_docs", json!({"docs": docs})).await;
    let listed = |answer: &Value, rows: &str| -> Vec<String> {
        answer[rows]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(listed(&get(&store, "/db/_all_docs").await, "rows"), ids);
    assert_eq!(listed(&get(&store, "/db/_changes").await, "results"), ids);
    let backwards: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(
        listed(&get(&store, "/db/_all_docs?descending=true").await, "rows"),
        backwards
    );
    let selected = ok(
        &store,
        "POST",
        "/db/_changes?filter=_selector",
        json!({"selector": {"even": true}}),
    )
    .await;
    assert_eq!(selected["results"].as_array().unwrap().len(), 601);
    let page = get(&store, "/db/_changes?limit=700").await;
    assert_eq!(
        (page["results"].as_array().unwrap().len(), &page["pending"]),
        (700, &json!(501))
    );
    let rest = get(
        &store,
        &format!("/db/_changes?since={}", page["last_seq"].as_str().unwrap()),
    )
    .await;
    assert_eq!(listed(&rest, "results"), ids[700..]);
}

#[tokio::test]
async fn what_it_lacks_it_says() {
    let store = database().await;
    let (status, answer) = ask(&store, "GET", "/db/_design/d/_view/v", Value::Null).await;
    assert_eq!((status, &answer["error"]), (501, &json!("not_implemented")));
    assert!(
        answer["reason"]
            .as_str()
            .unwrap()
            .ends_with("; put a CouchDB behind the proxy for it")
    );
}

#[tokio::test]
async fn a_request_is_not_read_without_end() {
    let store = database().await;
    let megabyte = Bytes::from(vec![b' '; 1 << 20]);
    let endless = stream::repeat_with(move || Ok::<_, BoxError>(Frame::data(megabyte.clone())));
    let response = send(
        &store,
        "POST",
        "/db/_bulk_docs",
        BodyExt::boxed_unsync(StreamBody::new(endless)),
    )
    .await;
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn databases_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Embedded::open(dir.path());
    let store = open().await.unwrap();
    ok(&store, "PUT", "/a%2Fb%2Bc", Value::Null).await;
    ok(&store, "PUT", "/gone", Value::Null).await;
    ok(&store, "DELETE", "/gone", Value::Null).await;
    let attachment = json!({"n": 1.0, "_attachments": {"f": {"content_type": "text/plain", "data": "aGVsbG8="}}});
    ok(&store, "PUT", "/a%2Fb%2Bc/doc", attachment).await;
    ok(&store, "PUT", "/a%2Fb%2Bc/_local/x", json!({"seq": 1})).await;
    ok(
        &store,
        "PUT",
        "/a%2Fb%2Bc/_security",
        json!({"members": {"names": ["x"]}}),
    )
    .await;
    let paths = [
        "/",
        "/_all_dbs",
        "/a%2Fb%2Bc",
        "/a%2Fb%2Bc/_changes",
        "/a%2Fb%2Bc/doc?attachments=true",
        "/a%2Fb%2Bc/_local/x",
        "/a%2Fb%2Bc/_security",
    ];
    let mut before = Vec::new();
    for path in paths {
        before.push(read_json(&store, path).await);
    }
    assert_eq!(before[1], json!(["a/b+c"]));
    drop(store);
    let store = open().await.unwrap();
    for (path, before) in paths.into_iter().zip(before) {
        assert_eq!(read_json(&store, path).await, before, "{path}");
    }
}

async fn read_json(store: &Embedded, path: &str) -> Value {
    let request = Request::get(path).header("accept", "application/json");
    let body = Full::new(Bytes::new()).map_err(|e| match e {}).boxed_unsync();
    let response = store.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    serde_json::from_slice(&response.collect().await.unwrap().to_bytes()).unwrap()
}

/// What was answered is on disk, even if the process is killed in the next moment.
#[tokio::test]
async fn an_answered_write_survives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writes_and_crashes", "--ignored"])
        .env("EMBEDDED_DIR", dir.path())
        .output()
        .unwrap();
    assert!(!child.status.success());
    let store = Embedded::open(dir.path()).await.unwrap();
    assert_eq!(get(&store, "/db").await["doc_count"], 3);
    assert_eq!(get(&store, "/db/bulk1").await["v"], 1);
}

#[tokio::test]
#[ignore = "run by an_answered_write_survives_a_crash"]
async fn writes_and_crashes() {
    let Some(dir) = std::env::var_os("EMBEDDED_DIR") else {
        return;
    };
    let store = Embedded::open(Path::new(&dir)).await.unwrap();
    ok(&store, "PUT", "/db", Value::Null).await;
    ok(&store, "PUT", "/db/doc", json!({})).await;
    ok(
        &store,
        "POST",
        "/db/_bulk_docs",
        json!({"docs": [{"_id": "bulk1", "v": 1}, {"_id": "bulk2"}]}),
    )
    .await;
    std::process::abort();
}
