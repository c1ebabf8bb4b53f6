//! What is written in one version can be read back in every other, whichever way it was written.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/stage.rs"]
mod stage;

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use chesterfield::{
    proxy::writes::Limits,
    upstream::{Body, UpstreamService, body::full},
};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use stage::{Asking, Stage};
use tokio::sync::Barrier;
use tower::{Service, service_fn};

const T1: &str = "todo-item:k:v:1";
const T2: &str = "todo-item:k:v:2";
const T3: &str = "todo-item:k:v:3";
const S: &str = "todo-item-status:k:v:1";

fn todo_1(title: &str, done: bool) -> Value {
    json!({"schema": "todo-item", "version": 1, "title": title, "isDone": done})
}

fn with(mut document: Value, fields: Value) -> Value {
    document
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    document
}

/// What every version is to show of one todo.
async fn assert_shows(couch: &Asking, title: &str, status: &str, group: &str) {
    let item = |version: u8| json!({"schema": "todo-item", "version": version, "title": title});
    assert_eq!(couch.get(T1).await, with(item(1), json!({"isDone": status == "done"})));
    assert_eq!(couch.get(T2).await, item(2));
    assert_eq!(couch.get(T3).await, with(item(3), json!({"group": group})));
    assert_eq!(couch.get(S).await["status"], status);
}

async fn assert_no_conflict(couch: &Asking) {
    for id in [T1, T2, T3, S] {
        let leaves = couch.leaves(id).await;
        assert!(leaves.len() < 2, "{id}: {leaves:?}");
    }
}

#[tokio::test]
async fn a_document_put_in_one_version_is_there_in_all() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let rev = proxy.put(T1, todo_1("a", false)).await;
    assert_shows(&proxy, "a", "active", "default").await;
    // By query, by If-Match, by member: three ways to name what is edited.
    let rev = proxy
        .ask("PUT", &format!("{T1}?rev={rev}"), todo_1("b", true).to_string())
        .await
        .body["rev"]
        .clone();
    assert_shows(&proxy, "b", "done", "default").await;
    let etag = format!("\"{}\"", rev.as_str().unwrap());
    let answer = proxy
        .ask_with("PUT", T1, &[("if-match", &etag)], todo_1("c", true).to_string())
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let group = json!({"_rev": proxy.rev(T3).await, "schema": "todo-item", "version": 3, "title": "d", "group": "x"});
    proxy.put(T3, group).await;
    assert_shows(&proxy, "d", "done", "x").await;
    assert_no_conflict(&proxy).await;
    stage.end().await;
}

#[tokio::test]
async fn what_only_the_target_knows_stays() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    proxy.put(T1, todo_1("a", false)).await;
    proxy
        .put(T3, json!({"_rev": proxy.rev(T3).await, "title": "a", "group": "x"}))
        .await;
    proxy
        .put(S, json!({"_rev": proxy.rev(S).await, "status": "blocked", "note": "n"}))
        .await;
    proxy
        .put(T1, with(todo_1("b", false), json!({"_rev": proxy.rev(T1).await})))
        .await;
    assert_shows(&proxy, "b", "blocked", "x").await;
    assert_eq!(proxy.get(S).await["note"], "n");
    stage.end().await;
}

#[tokio::test]
async fn deletion_and_re_creation_travel() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    for (id, status) in [(T1, "active"), (T2, "active"), (T3, "active")] {
        proxy.put(T1, todo_1("a", false)).await;
        assert_shows(&proxy, "a", status, "default").await;
        let answer = proxy
            .ask("DELETE", &format!("{id}?rev={}", proxy.rev(id).await), "")
            .await;
        assert_eq!(answer.status, StatusCode::OK);
        for id in [T1, T2, T3] {
            assert_eq!(proxy.get(id).await, Value::Null, "{id}");
        }
        assert_no_conflict(&proxy).await;
    }
    stage.end().await;
}

#[tokio::test]
async fn a_version_that_splits_waits_for_both_parts() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    proxy.put(T2, json!({"title": "a"})).await;
    assert_eq!(proxy.get(T1).await, Value::Null);
    assert_eq!(proxy.get(T3).await["title"], "a");
    proxy.put(S, json!({"status": "done"})).await;
    assert_eq!(proxy.get(T1).await["isDone"], true);
    stage.end().await;
}

#[tokio::test]
async fn every_way_to_write_is_carried() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    // POST to the database.
    let answer = proxy
        .ask("POST", "", with(todo_1("post", false), json!({"_id": T1})).to_string())
        .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_shows(&proxy, "post", "active", "default").await;
    // COPY, onto another key.
    let answer = proxy
        .ask_with("COPY", T1, &[("destination", "todo-item:copy:v:1")], "")
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_eq!(proxy.get("todo-item:copy:v:3").await["title"], "post");
    // An overridden method.
    let body = with(todo_1("override", false), json!({"_rev": proxy.rev(T1).await})).to_string();
    proxy
        .ask_with("POST", T1, &[("x-http-method-override", "PUT")], body)
        .await;
    assert_shows(&proxy, "override", "active", "default").await;
    // A compressed body, an odd spelling of the path.
    let body = with(todo_1("gzip", false), json!({"_rev": proxy.rev(T1).await})).to_string();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body.as_bytes()).unwrap();
    let answer = proxy
        .ask_with(
            "PUT",
            "/todo-item%3Ak:v%3a1/",
            &[("content-encoding", "gzip")],
            gzip.finish().unwrap(),
        )
        .await;
    if answer.status != StatusCode::CREATED {
        assert!(std::env::var("COUCHDB_URL").is_err(), "{answer:?}");
    } else {
        assert_shows(&proxy, "gzip", "active", "default").await;
    }
    // A document with an attachment inline, and an attachment of its own.
    let attachments = json!({"a.txt": {"content_type": "text/plain", "data": "aGVsbG8="}});
    let body = with(
        todo_1("inline", false),
        json!({"_rev": proxy.rev(T1).await, "_attachments": attachments}),
    );
    proxy.put(T1, body).await;
    assert_eq!(proxy.get(T2).await["title"], "inline");
    let path = format!("{T1}/b.txt?rev={}", proxy.rev(T1).await);
    let answer = proxy
        .ask_with("PUT", &path, &[("content-type", "text/plain")], "hello")
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_no_conflict(&proxy).await;
    // They are in other versions too, and an edit there keeps them.
    let mut newest = proxy.ask("GET", T3, "").await.body;
    newest["title"] = "kept".into();
    proxy.put(T3, newest).await;
    for id in [T1, T3] {
        let kept = proxy.get(id).await;
        assert_eq!(
            (&kept["title"], kept["_attachments"].as_object().unwrap().len()),
            (&json!("kept"), 2),
            "{kept}"
        );
    }
    assert_no_conflict(&proxy).await;
    stage.end().await;
}

#[tokio::test]
async fn replicated_writes_are_carried() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let hash = |n: u8| format!("{n:x}").repeat(32);
    let revisions = json!({"start": 3, "ids": [hash(3), hash(2), hash(1)]});
    let leaf = with(
        todo_1("bulk", true),
        json!({"_id": T1, "_rev": format!("3-{}", hash(3)), "_revisions": revisions}),
    );
    let plain = json!({"_id": "plain", "_rev": "1-abc", "v": 1});
    let answer = proxy
        .ask(
            "POST",
            "_bulk_docs",
            json!({"new_edits": false, "docs": [leaf, plain]}).to_string(),
        )
        .await;
    assert_eq!((answer.status, answer.body), (StatusCode::CREATED, json!([])));
    assert_shows(&proxy, "bulk", "done", "default").await;
    assert!(proxy.rev(T2).await.starts_with("3-"), "older edits are ancestors");
    let revisions = json!({"start": 4, "ids": [hash(4), hash(3), hash(2), hash(1)]});
    let leaf = with(
        todo_1("single", true),
        json!({"_rev": format!("4-{}", hash(4)), "_revisions": revisions}),
    );
    let answer = proxy
        .ask("PUT", &format!("{T1}?new_edits=false"), leaf.to_string())
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_shows(&proxy, "single", "done", "default").await;
    assert_no_conflict(&proxy).await;
    stage.end().await;
}

#[tokio::test]
async fn of_a_batch_what_was_accepted_is_carried() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    proxy.put("todo-item:old:v:1", todo_1("old", false)).await;
    let docs = json!([
        with(todo_1("late", true), json!({"_id": "todo-item:old:v:1"})),
        with(todo_1("new", true), json!({"_id": "todo-item:new:v:1"})),
        {"_id": "plain", "v": 1},
        {"v": "no id"},
        {"_id": "todo-item:pair:v:2", "title": "pair"},
        {"_id": "todo-item-status:pair:v:1", "status": "done"},
    ]);
    let answer = proxy.ask("POST", "_bulk_docs", json!({"docs": docs}).to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.body[0]["error"], "conflict");
    assert_eq!(proxy.get("todo-item:old:v:3").await["title"], "old");
    assert_eq!(proxy.get("todo-item:new:v:3").await["title"], "new");
    assert_eq!(proxy.get("todo-item:pair:v:1").await["isDone"], true);
    assert_eq!(proxy.get("plain").await["v"], 1);
    stage.end().await;
}

#[tokio::test]
async fn the_client_gets_what_couchdb_answers() {
    let mut stage = Stage::new().await;
    let (proxy, direct) = (stage.proxy().await, stage.direct());
    let bulk = |key: &str| json!({"docs": [with(todo_1("a", true), json!({"_id": format!("todo-item:{key}:v:1")}))]});
    let compare = |a: stage::Answered, b: stage::Answered| {
        let shown = |answer: stage::Answered, key: &str| {
            let names = answer
                .headers
                .keys()
                .map(|name| name.to_string())
                .collect::<std::collections::BTreeSet<_>>();
            let text = format!("{:?} {:?} {}", answer.status, names, answer.body);
            text.replace(&format!(":{key}:"), ":k:")
        };
        assert_eq!(shown(a, "a"), shown(b, "b"));
    };
    let (a, b) = ("todo-item:a:v:1", "todo-item:b:v:1");
    let body = || todo_1("a", true).to_string();
    compare(proxy.ask("PUT", a, body()).await, direct.ask("PUT", b, body()).await);
    compare(proxy.ask("PUT", a, body()).await, direct.ask("PUT", b, body()).await);
    compare(proxy.ask("PUT", a, "{").await, direct.ask("PUT", b, "{").await);
    compare(proxy.ask("PUT", a, "[]").await, direct.ask("PUT", b, "[]").await);
    compare(proxy.ask("DELETE", a, "").await, direct.ask("DELETE", b, "").await);
    for (post, key) in [("_bulk_docs", "bulk"), ("_bulk_docs?batch=ok", "bulk2")] {
        let (a, b) = (format!("a{key}"), format!("b{key}"));
        let answer = (
            proxy.ask("POST", post, bulk(&a).to_string()).await,
            direct.ask("POST", post, bulk(&b).to_string()).await,
        );
        assert_eq!(answer.0.status, answer.1.status);
    }
    for body in [
        "",
        "{}",
        "[]",
        r#"{"docs":1}"#,
        r#"{"docs":[1]}"#,
        r#"{"docs":[]}"#,
        r#"{"docs":[{"_id":"_x"}]}"#,
    ] {
        compare(
            proxy.ask("POST", "_bulk_docs", body).await,
            direct.ask("POST", "_bulk_docs", body).await,
        );
    }
    stage.end().await;
}

#[tokio::test]
async fn what_cannot_be_unpacked_is_refused_by_couchdb() {
    let mut stage = Stage::new().await;
    let (proxy, direct) = (stage.proxy().await, stage.direct());
    for (encoding, body) in [("gzip", "no gzip"), ("br", "{}"), ("GZIP", "{}")] {
        let headers = [("content-encoding", encoding)];
        for path in ["_bulk_docs", T1] {
            let method = if path == T1 { "PUT" } else { "POST" };
            let asked = proxy.ask_with(method, path, &headers, body).await;
            let expected = direct.ask_with(method, path, &headers, body).await;
            assert_eq!(
                (asked.status, asked.body),
                (expected.status, expected.body),
                "{encoding} {path}"
            );
        }
    }
    stage.end().await;
}

#[tokio::test]
async fn of_doubled_members_the_last_counts() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let doubled =
        |key: &str| format!(r#"{{"_id":"x","_id":"todo-item:{key}:v:1","title":"x","title":"{key}","isDone":false}}"#);
    for (path, key, body) in [
        ("", "post", doubled("post")),
        ("_bulk_docs", "bulk", format!(r#"{{"docs":[{}]}}"#, doubled("bulk"))),
        (
            "_bulk_docs",
            "docs",
            format!(r#"{{"docs":[],"docs":[{}]}}"#, doubled("docs")),
        ),
        (
            "_bulk_docs",
            "edits",
            format!(
                r#"{{"new_edits":false,"docs":[{}],"new_edits":true}}"#,
                doubled("edits")
            ),
        ),
    ] {
        let answer = proxy.ask("POST", path, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{key} {answer:?}");
        assert_eq!(proxy.get(&format!("todo-item:{key}:v:3")).await["title"], key);
    }
    stage.end().await;
}

#[tokio::test]
async fn what_stands_in_revisions_is_edited() {
    // Siblings are read before the document is written, so that where it stands has to be known.
    let (is_last, read) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(2)));
    let armed = is_last.clone();
    let mut stage = Stage::behind(|inner| {
        wrap(inner, move |request, mut inner| {
            let (armed, read) = (armed.clone(), read.clone());
            async move {
                if request.method() == "PUT" && armed.load(Ordering::Relaxed) {
                    read.wait().await;
                }
                let is_read = request.uri().path().ends_with("_bulk_get");
                let answer = inner.call(request).await;
                if is_read && armed.load(Ordering::Relaxed) {
                    read.wait().await;
                    armed.store(false, Ordering::Relaxed);
                }
                answer
            }
        })
    })
    .await;
    let proxy = stage.proxy().await;
    let path = |hash: &str| json!({"start": 2, "ids": [hash.repeat(32), "c".repeat(32)]});
    for hash in ["a", "b"] {
        let rev = json!({"_id": T2, "_rev": format!("2-{}", hash.repeat(32)), "_revisions": path(hash), "title": hash, "schema": "todo-item", "version": 2});
        let body = json!({"new_edits": false, "docs": [rev]}).to_string();
        proxy.ask("POST", "_bulk_docs", body).await;
    }
    is_last.store(true, Ordering::Relaxed);
    let answer = proxy
        .ask(
            "PUT",
            T2,
            json!({"_revisions": path("a"), "title": "c", "schema": "todo-item", "version": 2}).to_string(),
        )
        .await;
    if answer.status == StatusCode::CREATED {
        let leaves = proxy.leaves(T3).await;
        let mut titles: Vec<&str> = leaves.iter().filter_map(|leaf| leaf["title"].as_str()).collect();
        titles.sort_unstable();
        assert_eq!(titles, ["b", "c"]);
    } else {
        assert!(std::env::var("COUCHDB_URL").is_err(), "{answer:?}");
    }
    stage.end().await;
}

/// A stage, and how often its entities are read.
async fn counting() -> (Stage, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = asked.clone();
    let stage = Stage::behind(|inner| {
        wrap(inner, move |request, mut inner| {
            let own = request.uri().path().ends_with("_bulk_get");
            counting.fetch_add(usize::from(own), Ordering::Relaxed);
            async move { inner.call(request).await }
        })
    })
    .await;
    (stage, asked)
}

#[tokio::test]
async fn what_is_of_no_entity_is_left_alone() {
    let (mut stage, asked) = counting().await;
    let proxy = stage.proxy().await;
    for id in [
        "plain",
        "settings",
        "todo-item:k",
        "todo-item:k:v:4",
        "_local/todo-item:k:v:1",
        "_design/d",
    ] {
        proxy.put(id, json!({"language": "query"})).await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    proxy.put(T1, todo_1("a", false)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1, "siblings are read once");
    stage.end().await;
}

/// An upstream with something in between.
fn wrap<F, Fut>(inner: UpstreamService, act: F) -> UpstreamService
where
    F: Fn(Request<Body>, UpstreamService) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Body>, chesterfield::upstream::Error>> + Send + 'static,
{
    UpstreamService::new(service_fn(move |request| act(request, inner.clone())))
}

fn is_own_write(request: &Request<Body>) -> bool {
    request.uri().path().ends_with("_bulk_docs") && request.uri().query().is_none()
}

#[tokio::test]
async fn a_failed_fan_out_fails_no_write_and_the_next_one_makes_up_for_it() {
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = broken.clone();
    let mut stage = Stage::behind(|inner| {
        wrap(inner, move |request, mut inner| {
            let fails = is_broken.load(Ordering::Relaxed) && is_own_write(&request);
            async move {
                if fails {
                    let mut answer = Response::new(full("{\"error\":\"internal_server_error\"}"));
                    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    return Ok(answer);
                }
                inner.call(request).await
            }
        })
    })
    .await;
    let proxy = stage.proxy().await;
    proxy.put(T1, todo_1("a", true)).await;
    assert_eq!(proxy.get(T2).await, Value::Null);
    broken.store(false, Ordering::Relaxed);
    proxy
        .put(T1, with(todo_1("b", true), json!({"_rev": proxy.rev(T1).await})))
        .await;
    assert_shows(&proxy, "b", "done", "default").await;
    assert!(proxy.rev(T2).await.starts_with("2-"), "both edits are there");
    stage.end().await;
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_carried() {
    let mut stage = Stage::behind(|inner| {
        wrap(inner, |request, mut inner| async move {
            let is_put = request.uri().path().contains("todo-item");
            let answer = inner.call(request).await;
            if is_put {
                return Err(chesterfield::upstream::Error::Broken {
                    name: "couch".into(),
                    source: "lost".into(),
                });
            }
            answer
        })
    })
    .await;
    let proxy = stage.proxy().await;
    let answer = proxy.ask("PUT", T1, todo_1("a", true).to_string()).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    stage.ended().await;
    assert_shows(&stage.direct(), "a", "done", "default").await;
    stage.end().await;
}

#[tokio::test]
async fn an_update_function_names_its_document() {
    let mut stage = Stage::behind(|inner| {
        wrap(inner, |request, mut inner| async move {
            if !request.uri().path().contains("_update") {
                return inner.call(request).await;
            }
            // As CouchDB answers: the id is percent-encoded.
            let path = request.uri().path().replace("_design/d/_update/f/", "");
            let id = path.rsplit('/').next().unwrap().to_owned();
            let mut put = Request::put(path).header("content-type", "application/json");
            if let Some(account) = request.headers().get("authorization") {
                put = put.header("authorization", account);
            }
            let mut answer = inner
                .call(put.body(full(todo_1("a", true).to_string())).unwrap())
                .await?;
            let rev = answer.headers()["etag"]
                .to_str()
                .unwrap()
                .trim_matches('"')
                .parse()
                .unwrap();
            answer.headers_mut().insert("x-couch-id", id.parse().unwrap());
            answer.headers_mut().insert("x-couch-update-newrev", rev);
            Ok(answer)
        })
    })
    .await;
    let proxy = stage.proxy().await;
    let answer = proxy
        .ask("PUT", "_design/d/_update/f/todo-item:%C3%BC%2F%25:v:1", "")
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_eq!(proxy.get("todo-item:%C3%BC%2F%25:v:3").await["title"], "a");
    stage.end().await;
}

#[tokio::test]
async fn a_document_that_cannot_be_read_holds_up_no_other() {
    // CouchDB takes a generation that no integer holds from a replicator.
    let odd = "b".repeat(32);
    let shown = odd.clone();
    let mut stage = Stage::behind(|inner| {
        wrap(inner, move |request, mut inner| {
            let shown = shown.clone();
            async move {
                let is_read = request.uri().path().ends_with("_bulk_get");
                let answer = inner.call(request).await?;
                if !is_read {
                    return Ok(answer);
                }
                let text = answer.into_body().collect().await.unwrap().to_bytes();
                let text = String::from_utf8(text.to_vec()).unwrap();
                Ok(Response::new(full(
                    text.replace(&format!("1-{shown}"), "99999999999999999999-abc"),
                )))
            }
        })
    })
    .await;
    let (proxy, direct) = (stage.proxy().await, stage.direct());
    let bad = with(
        todo_1("bad", true),
        json!({"_id": "todo-item:bad:v:1", "_rev": format!("1-{odd}")}),
    );
    direct
        .ask(
            "POST",
            "_bulk_docs",
            json!({"new_edits": false, "docs": [bad]}).to_string(),
        )
        .await;
    let docs = json!([{"_id": "todo-item:bad:v:2", "title": "b"}, with(todo_1("a", true), json!({"_id": T1}))]);
    proxy.ask("POST", "_bulk_docs", json!({"docs": docs}).to_string()).await;
    assert_shows(&proxy, "a", "done", "default").await;
    assert_eq!(proxy.get("todo-item:bad:v:3").await, Value::Null);
    stage.end().await;
}

#[tokio::test]
async fn one_bad_document_fails_no_other() {
    let mut stage = Stage::behind(|inner| {
        wrap(inner, |request, mut inner| async move {
            if !is_own_write(&request) {
                return inner.call(request).await;
            }
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            if String::from_utf8_lossy(&body).contains(T3) {
                let mut answer = Response::new(full("{\"error\":\"doc_validation\",\"reason\":\"\"}"));
                *answer.status_mut() = StatusCode::BAD_REQUEST;
                return Ok(answer);
            }
            inner.call(Request::from_parts(head, full(body))).await
        })
    })
    .await;
    let proxy = stage.proxy().await;
    let body = |key: &str| with(todo_1("a", true), json!({"_id": format!("todo-item:{key}:v:1")}));
    let docs = json!({"new_edits": true, "docs": [body("k"), body("l")]}).to_string();
    proxy.ask("POST", "_bulk_docs?own=no", docs).await;
    assert_eq!(proxy.get(T3).await, Value::Null);
    assert_eq!(proxy.get(T2).await["title"], "a");
    assert_eq!(proxy.get("todo-item:l:v:3").await["title"], "a");
    stage.end().await;
}

#[tokio::test]
async fn conflicts_of_a_batch_are_read_at_once() {
    let (mut stage, asked) = counting().await;
    let proxy = stage.proxy().await;
    let batch = |hash: &str| {
        let docs = (0..20).map(|n| {
            let revisions = json!({"start": 2, "ids": [hash.repeat(32), "c".repeat(32)]});
            let id = format!("todo-item:{n}:v:2");
            json!({"_id": id, "_rev": format!("2-{}", hash.repeat(32)), "_revisions": revisions, "title": hash})
        });
        json!({"new_edits": false, "docs": docs.collect::<Vec<_>>()}).to_string()
    };
    proxy.ask("POST", "_bulk_docs", batch("a")).await;
    asked.store(0, Ordering::Relaxed);
    proxy.ask("POST", "_bulk_docs", batch("b")).await;
    assert_eq!(proxy.leaves("todo-item:7:v:3").await.len(), 2);
    assert!(asked.load(Ordering::Relaxed) < 5, "{asked:?}");
    stage.end().await;
}

#[tokio::test]
async fn two_writes_at_once_to_one_entity_both_arrive() {
    // Both requests read their siblings before either has written.
    let (reads, read) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(4)));
    let mut stage = Stage::behind(|inner| {
        wrap(inner, move |request, mut inner| {
            let (first, read) = (reads.clone(), read.clone());
            async move {
                if request.uri().path().ends_with("_bulk_get") && first.fetch_add(1, Ordering::Relaxed) < 2 {
                    let answer = inner.call(request).await;
                    read.wait().await;
                    return answer;
                }
                if request.method() == "PUT" {
                    read.wait().await;
                }
                inner.call(request).await
            }
        })
    })
    .await;
    let proxy = stage.proxy().await;
    tokio::join!(
        proxy.put(T2, json!({"schema": "todo-item", "version": 2, "title": "a"})),
        proxy.put(S, json!({"status": "done"}))
    );
    stage.ended().await;
    assert_shows(&stage.direct(), "a", "done", "default").await;
    assert_no_conflict(&stage.direct()).await;
    stage.end().await;
}

#[tokio::test]
async fn a_refused_write_that_ends_last_looks_again_for_the_others() {
    // A write that will be refused is under way throughout; the two others read their siblings before either has written.
    let (reads, read) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(4)));
    let (entered, open) = (Arc::new(Barrier::new(3)), Arc::new(Barrier::new(2)));
    let (is_entered, opened) = (entered.clone(), open.clone());
    let mut stage = Stage::behind(|inner| {
        wrap(inner, move |request, mut inner| {
            let (first, read) = (reads.clone(), read.clone());
            let (entered, open) = (is_entered.clone(), opened.clone());
            async move {
                let is_refused = request.uri().path().ends_with("v:3");
                if request.uri().path().ends_with("_bulk_get") {
                    let answer = inner.call(request).await;
                    match first.fetch_add(1, Ordering::Relaxed) {
                        0 => _ = entered.wait().await,
                        1 | 2 => _ = read.wait().await,
                        _ => {}
                    }
                    return answer;
                }
                if request.method() == "PUT" && is_refused {
                    entered.wait().await;
                    open.wait().await;
                } else if request.method() == "PUT" {
                    read.wait().await;
                }
                inner.call(request).await
            }
        })
    })
    .await;
    let proxy = stage.proxy().await;
    let refused = async {
        let body = json!({"_rev": "1-0123456789abcdef0123456789abcdef", "title": "late"});
        proxy.ask("PUT", T3, body.to_string()).await.status
    };
    let others = async {
        entered.wait().await;
        let todo = json!({"schema": "todo-item", "version": 2, "title": "a"});
        tokio::join!(proxy.put(T2, todo), proxy.put(S, json!({"status": "done"})));
        open.wait().await;
    };
    let (status, ()) = tokio::join!(refused, others);
    assert_eq!(status, StatusCode::CONFLICT);
    stage.ended().await;
    assert_shows(&stage.direct(), "a", "done", "default").await;
    assert_no_conflict(&stage.direct()).await;
    stage.end().await;
}

#[tokio::test]
async fn two_proxies_before_one_database() {
    let mut stage = Stage::new().await;
    let (a, b) = (stage.proxy().await, stage.proxy().await);
    a.put(T1, todo_1("0", false)).await;
    for n in 1..20 {
        let proxy = if n % 2 == 0 { &a } else { &b };
        let id = [T1, T2, T3][n % 3];
        let mut document = proxy.ask("GET", id, "").await.body;
        document["title"] = json!(n.to_string());
        proxy.put(id, document).await;
        assert_shows(proxy, &n.to_string(), "active", "default").await;
    }
    assert_no_conflict(&a).await;
    stage.end().await;
}

#[tokio::test]
async fn a_long_batch_is_refused_and_a_long_document_looked_at_afterwards() {
    let mut stage = Stage::new().await;
    let limits = Limits {
        body: 1000,
        ..Limits::default()
    };
    let proxy = stage.proxy_with(limits).await;
    let long = with(todo_1("long", true), json!({"text": "x".repeat(2000)}));
    proxy.put(T1, long.clone()).await;
    assert_eq!(proxy.get(T3).await["title"], "long");
    let answer = proxy
        .ask("POST", "_bulk_docs", json!({"docs": [long]}).to_string())
        .await;
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large"))
    );
    stage.end().await;
}

#[tokio::test]
async fn patience_ends_but_the_fan_out_goes_on() {
    let gate = Arc::new(Barrier::new(2));
    let held = gate.clone();
    let mut stage = Stage::behind(|inner| {
        wrap(inner, move |request, mut inner| {
            let held = held.clone();
            async move {
                if is_own_write(&request) {
                    held.wait().await;
                }
                inner.call(request).await
            }
        })
    })
    .await;
    let proxy = stage
        .proxy_with(Limits {
            patience: Duration::from_millis(20),
            ..Limits::default()
        })
        .await;
    proxy.put(T1, todo_1("a", true)).await;
    assert_eq!(stage.direct().get(T2).await, Value::Null);
    tokio::join!(gate.wait(), stage.ended());
    assert_shows(&stage.direct(), "a", "done", "default").await;
    stage.end().await;
}

#[tokio::test]
async fn a_conflict_is_one_in_every_version_and_so_is_its_resolution() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    proxy.put(T1, todo_1("base", false)).await;
    let edit = async |id: &str, hash: &str, title: &str, fields: Value| {
        let path = proxy.ask("GET", &format!("{id}?revs=true"), "").await.body["_revisions"].clone();
        let start = path["start"].as_u64().unwrap() + 1;
        let mut ids = path["ids"].as_array().unwrap().clone();
        ids.insert(0, json!(hash.repeat(32)));
        let revisions = json!({"start": start, "ids": ids});
        let rev = format!("{start}-{}", hash.repeat(32));
        with(
            json!({"_id": id, "_rev": rev, "_revisions": revisions, "title": title}),
            fields,
        )
    };
    let a = edit(T1, "a", "from version 1", json!({"isDone": false})).await;
    let b = edit(
        T3,
        "b",
        "from version 3",
        json!({"schema": "todo-item", "version": 3, "group": "x"}),
    )
    .await;
    for document in [&a, &b] {
        proxy
            .ask(
                "POST",
                "_bulk_docs",
                json!({"new_edits": false, "docs": [document]}).to_string(),
            )
            .await;
    }
    for id in [T1, T2, T3] {
        assert_eq!(proxy.leaves(id).await.len(), 2, "{id}");
        assert_eq!(proxy.get(id).await["title"], "from version 3", "{id}");
    }
    let loser = proxy
        .leaves(T2)
        .await
        .into_iter()
        .find(|leaf| leaf["title"] == "from version 1")
        .unwrap();
    let answer = proxy
        .ask("DELETE", &format!("{T2}?rev={}", loser["_rev"].as_str().unwrap()), "")
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_no_conflict(&proxy).await;
    assert_shows(&proxy, "from version 3", "active", "x").await;
    stage.end().await;
}
