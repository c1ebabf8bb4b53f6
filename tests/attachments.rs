//! Attachments are there in every version, whichever way they were written.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/stage.rs"]
mod stage;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chesterfield::{
    proxy::writes::Limits,
    upstream::{Body, UpstreamService, body::full},
};
use http::{Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use stage::{Asking, Stage};
use tokio::sync::Semaphore;
use tower::{Service, service_fn};

const T1: &str = "todo-item:k:v:1";
const T2: &str = "todo-item:k:v:2";
const T3: &str = "todo-item:k:v:3";
const S: &str = "todo-item-status:k:v:1";
const TODOS: [&str; 3] = [T1, T2, T3];

/// The names of a document's attachments, each with its digest.
async fn digests(couch: &Asking, id: &str) -> BTreeMap<String, String> {
    let document = couch.get(id).await;
    assert_ne!(document, Value::Null, "{id} is missing");
    let attachments = document["_attachments"].as_object().cloned().unwrap_or_default();
    let digest = |stub: Value| stub["digest"].as_str().unwrap().to_owned();
    attachments
        .into_iter()
        .map(|(name, stub)| (name, digest(stub)))
        .collect()
}

/// What every version is to hold of one todo, and nothing else.
async fn assert_attached(couch: &Asking, expected: &[(&str, &[u8])]) {
    let first = digests(couch, T1).await;
    for id in TODOS {
        let names: Vec<String> = digests(couch, id).await.into_keys().collect();
        assert_eq!(
            names,
            expected.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            "{id}"
        );
        assert_eq!(digests(couch, id).await, first, "{id}");
        for (name, bytes) in expected {
            let answer = couch.ask("GET", &format!("{id}/{name}"), "").await;
            assert_eq!((answer.status, &*answer.bytes), (StatusCode::OK, *bytes), "{id}/{name}");
        }
        assert_eq!(couch.leaves(id).await.len(), 1, "{id}");
    }
}

async fn attach(couch: &Asking, id: &str, name: &str, kind: &str, bytes: &[u8]) {
    attach_with(couch, id, name, &[("content-type", kind)], bytes).await;
}

async fn attach_with(couch: &Asking, id: &str, name: &str, headers: &[(&str, &str)], bytes: &[u8]) {
    let path = format!("{id}/{name}?rev={}", couch.rev(id).await);
    let answer = couch.ask_with("PUT", &path, headers, bytes.to_vec()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{path}: {answer:?}");
}

async fn detach(couch: &Asking, id: &str, name: &str) {
    let path = format!("{id}/{name}?rev={}", couch.rev(id).await);
    let answer = couch.ask("DELETE", &path, "").await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
}

/// Some fields of a document changed, with all else as it is shown.
async fn change(couch: &Asking, id: &str, fields: Value) {
    let mut document = couch.ask("GET", id, "").await.body;
    document
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    couch.put(id, document).await;
}

fn todo(title: &str) -> Value {
    json!({"schema": "todo-item", "version": 1, "title": title, "isDone": false})
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// What the proxies asked the database for that has to do with attachments.
type Asked = Arc<Mutex<Vec<String>>>;

fn is_attachment(request: &Request<Body>) -> bool {
    let segments = request.uri().path().trim_matches('/').split('/').count();
    request.method() == Method::GET && segments == 3 && request.headers().contains_key(header::ACCEPT_ENCODING)
}

fn is_in_parts(request: &Request<Body>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/related"))
}

fn noting(asked: &Asked, inner: UpstreamService) -> UpstreamService {
    let asked = asked.clone();
    UpstreamService::new(service_fn(move |request: Request<Body>| {
        if is_attachment(&request) || is_in_parts(&request) {
            let path = request.uri().path().splitn(3, '/').nth(2).unwrap().to_owned();
            asked.lock().unwrap().push(format!("{} {path}", request.method()));
        }
        inner.clone().call(request)
    }))
}

fn refused(status: StatusCode) -> Response<Body> {
    let body = full(r#"{"error":"refused","reason":"by the test"}"#);
    Response::builder().status(status).body(body).unwrap()
}

#[tokio::test]
async fn what_is_attached_in_one_version_is_attached_in_all() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    // Inline.
    let mut document = todo("a");
    document["_attachments"] = json!({"a.txt": {"content_type": "text/plain", "data": "aGVsbG8="}});
    proxy.put(T1, document).await;
    assert_attached(&proxy, &[("a.txt", b"hello")]).await;
    // By itself, under a name that has to be encoded, with nothing in it.
    attach(&proxy, T3, "b%20%22%C3%BC%22.png", "image/png", b"\0\x01\x02").await;
    attach(&proxy, T3, "empty", "text/plain", b"").await;
    for id in TODOS {
        assert_eq!(
            digests(&proxy, id).await.into_keys().collect::<Vec<_>>(),
            ["a.txt", "b \"ü\".png", "empty"],
            "{id}"
        );
        let image = proxy.ask("GET", &format!("{id}/b%20%22%C3%BC%22.png"), "").await;
        assert_eq!(
            (&*image.bytes, &image.headers["content-type"]),
            (&b"\0\x01\x02"[..], &"image/png".parse().unwrap())
        );
    }
    // Replaced in one version, by bytes or by another type, deleted in another.
    attach(&proxy, T2, "a.txt", "text/plain", b"hello again").await;
    detach(&proxy, T1, "b%20%22%C3%BC%22.png").await;
    assert_attached(&proxy, &[("a.txt", b"hello again"), ("empty", b"")]).await;
    attach(&proxy, T3, "a.txt", "text/html", b"hello again").await;
    for id in TODOS {
        let document = proxy.get(id).await;
        assert_eq!(document["_attachments"]["a.txt"]["content_type"], "text/html", "{id}");
    }
    detach(&proxy, T3, "empty").await;
    // Left out of the document: deleted, too.
    let rev = proxy.rev(T1).await;
    let mut document = todo("b");
    document["_rev"] = rev.into();
    proxy.put(T1, document).await;
    assert_attached(&proxy, &[]).await;
    assert_eq!(proxy.get(T3).await["title"], "b");
    stage.end().await;
}

/// CouchDB compresses texts as it stores them, and takes what a client has compressed as it is.
#[tokio::test]
async fn what_is_stored_compressed_has_the_same_digest_everywhere() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    proxy.put(T1, todo("a")).await;
    let text = "to be or not to be, ".repeat(500);
    attach(&proxy, T1, "plain.txt", "text/plain", text.as_bytes()).await;
    let headers = [("content-type", "text/plain"), ("content-encoding", "gzip")];
    attach_with(&proxy, T2, "packed.txt", &headers, &gzipped(text.as_bytes())).await;
    assert_attached(
        &proxy,
        &[("packed.txt", text.as_bytes()), ("plain.txt", text.as_bytes())],
    )
    .await;
    let was = digests(&proxy, T3).await;
    change(&proxy, T3, json!({"group": "x"})).await;
    change(&proxy, T1, json!({"isDone": true})).await;
    assert_eq!(digests(&proxy, T3).await, was);
    assert_eq!(digests(&proxy, T1).await, was);
    stage.end().await;
}

#[tokio::test]
async fn bytes_are_sent_only_where_they_are_new() {
    let asked = Asked::default();
    let mut stage = Stage::behind(|inner| noting(&asked, inner)).await;
    let proxy = stage.proxy().await;
    proxy.put(T1, todo("a")).await;
    attach(&proxy, T1, "a.png", "image/png", b"a").await;
    attach(&proxy, T1, "b.png", "image/png", b"b").await;
    let told = std::mem::take(&mut *asked.lock().unwrap());
    assert_eq!(
        told.iter().filter(|told| told.starts_with("PUT")).count(),
        4,
        "{told:?}"
    );
    assert_eq!(
        told.iter().filter(|told| told.starts_with("GET")).count(),
        4,
        "{told:?}"
    );
    change(&proxy, T1, json!({"title": "b"})).await;
    change(&proxy, T3, json!({"group": "x", "title": "c"})).await;
    detach(&proxy, T2, "a.png").await;
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
    assert_attached(&proxy, &[("b.png", b"b")]).await;
    stage.end().await;
}

/// What the parts of a todo have, its first version has; what that changes of it is changed where it is.
#[tokio::test]
async fn attachments_of_a_part_are_those_of_the_whole() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    proxy.put(T1, todo("a")).await;
    attach(&proxy, S, "why.png", "image/png", b"no flour").await;
    attach(&proxy, T1, "a.png", "image/png", b"a").await;
    let held = async |id| digests(&proxy, id).await.into_keys().collect::<Vec<_>>();
    assert_eq!(held(T1).await, ["a.png", "why.png"]);
    assert_eq!(
        [held(T2).await, held(T3).await, held(S).await],
        [["a.png"], ["a.png"], ["why.png"]]
    );
    attach(&proxy, T1, "why.png", "image/png", b"no yeast").await;
    let answer = proxy.ask("GET", &format!("{S}/why.png"), "").await;
    assert_eq!(answer.bytes, "no yeast");
    detach(&proxy, T1, "why.png").await;
    for id in [T1, T2, T3, S] {
        assert!(!digests(&proxy, id).await.contains_key("why.png"), "{id}");
    }
    change(&proxy, S, json!({"status": "blocked"})).await;
    assert_attached(&proxy, &[("a.png", b"a")]).await;
    stage.end().await;
}

#[tokio::test]
async fn both_sides_of_a_conflict_have_their_own() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    proxy.put(T1, todo("a")).await;
    attach(&proxy, T1, "a.png", "image/png", b"a").await;
    // Edited offline, in two versions, on top of the same.
    let offline = |id: &str, rev: String, hash: &str, bytes: &str| {
        let (generation, parent) = rev
            .split_once('-')
            .map(|(n, hash)| (n.parse::<u64>().unwrap() + 1, hash.to_owned()))
            .unwrap();
        json!({"new_edits": false, "docs": [{
            "_id": id, "_rev": format!("{generation}-{hash}"), "title": hash, "isDone": false,
            "_revisions": {"start": generation, "ids": [hash, parent]},
            "_attachments": {
                "a.png": {"stub": true, "revpos": 2, "content_type": "image/png", "digest": "", "length": 1},
                "b.png": {"content_type": "image/png", "revpos": generation, "data": bytes},
            },
        }]})
    };
    let (first, second) = (
        offline(T1, proxy.rev(T1).await, &"1".repeat(32), "MQ=="),
        offline(T2, proxy.rev(T2).await, &"2".repeat(32), "Mg=="),
    );
    for edit in [first, second] {
        let answer = proxy.ask("POST", "_bulk_docs", edit.to_string()).await;
        assert_eq!((answer.status, &answer.body), (StatusCode::CREATED, &json!([])));
    }
    for id in TODOS {
        let leaves = proxy.leaves(id).await;
        assert_eq!(leaves.len(), 2, "{id}: {leaves:?}");
        for leaf in leaves {
            let rev = leaf["_rev"].as_str().unwrap();
            let image = async |name| proxy.ask("GET", &format!("{id}/{name}?rev={rev}"), "").await.bytes;
            assert_eq!(image("a.png").await, "a", "{id}");
            assert_eq!(
                image("b.png").await[..],
                leaf["title"].as_str().unwrap().as_bytes()[..1],
                "{id}"
            );
        }
    }
    stage.end().await;
}

/// The client is answered when its patience ends; what is on its way goes on.
#[tokio::test]
async fn the_answer_does_not_wait_for_long_uploads() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    let mut stage = Stage::behind(move |inner| {
        UpstreamService::new(service_fn(move |request: Request<Body>| {
            let (gate, mut inner) = (gate.clone(), inner.clone());
            async move {
                if is_attachment(&request) {
                    let _ = gate.acquire().await;
                }
                inner.call(request).await
            }
        }))
    })
    .await;
    let patience = Duration::from_millis(1);
    let proxy = stage
        .proxy_with(Limits {
            patience,
            ..Limits::default()
        })
        .await;
    proxy.put(T1, todo("a")).await;
    attach(&proxy, T1, "a.png", "image/png", b"a").await;
    assert_eq!(digests(&proxy, T2).await, BTreeMap::new());
    opened.add_permits(100);
    stage.ended().await;
    assert_attached(&stage.direct(), &[("a.png", b"a")]).await;
    stage.end().await;
}

/// What vanishes on the way is left for whoever looks next, and nothing is written without it.
#[tokio::test]
async fn a_revision_whose_attachment_is_gone_is_not_written() {
    let is_gone = Arc::new(AtomicBool::new(true));
    let told = is_gone.clone();
    let mut stage = Stage::behind(move |inner| {
        UpstreamService::new(service_fn(move |request: Request<Body>| {
            let (is_gone, mut inner) = (told.load(Ordering::Relaxed), inner.clone());
            async move {
                if is_gone && is_attachment(&request) {
                    return Ok(refused(StatusCode::NOT_FOUND));
                }
                inner.call(request).await
            }
        }))
    })
    .await;
    let proxy = stage.proxy().await;
    proxy.put(T1, todo("a")).await;
    attach(&proxy, T1, "a.png", "image/png", b"a").await;
    let generation = async |id| proxy.rev(id).await.split_once('-').unwrap().0.to_owned();
    assert_eq!(
        [generation(T1).await, generation(T2).await, generation(T3).await],
        ["2", "1", "1"]
    );
    is_gone.store(false, Ordering::Relaxed);
    change(&proxy, T1, json!({"title": "b"})).await;
    assert_attached(&proxy, &[("a.png", b"a")]).await;
    assert_eq!(proxy.get(T3).await["title"], "b");
    stage.end().await;
}

#[tokio::test]
async fn what_is_refused_in_one_version_comes_to_the_others() {
    let mut stage = Stage::behind(|inner| {
        UpstreamService::new(service_fn(move |request: Request<Body>| {
            let mut inner = inner.clone();
            async move {
                if is_in_parts(&request) && request.uri().path().ends_with("k%3Av%3A2") {
                    return Ok(refused(StatusCode::PAYLOAD_TOO_LARGE));
                }
                inner.call(request).await
            }
        }))
    })
    .await;
    let proxy = stage.proxy().await;
    let docs: Vec<Value> = ["k", "l"]
        .iter()
        .map(|key| {
            let mut document = todo("a");
            document["_id"] = format!("todo-item:{key}:v:1").into();
            document["_attachments"] = json!({"a.png": {"content_type": "image/png", "data": "YQ=="}});
            document
        })
        .collect();
    let answer = proxy
        .ask("POST", "_bulk_docs", json!({ "docs": docs }).to_string())
        .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(proxy.get(T2).await, Value::Null);
    for id in [T3, "todo-item:l:v:2", "todo-item:l:v:3"] {
        assert_eq!(digests(&proxy, id).await.len(), 1, "{id}");
    }
    assert_eq!(proxy.get(S).await["status"], "active");
    stage.end().await;
}

/// The todo app, with what is said of attachments in its second version.
fn omitting(folder: &Path) {
    for sub in ["classes", "lenses", "apps"] {
        fs::create_dir_all(folder.join(sub)).unwrap();
        for file in fs::read_dir(Path::new("schemas").join(sub)).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), folder.join(sub).join(file.file_name())).unwrap();
        }
    }
    let class = folder.join("classes/todo-item@3.json");
    let mut text: Value = serde_json::from_str(&fs::read_to_string(&class).unwrap()).unwrap();
    text["attachments"] = "omit".into();
    fs::write(class, text.to_string()).unwrap();
}

#[tokio::test]
async fn a_class_that_omits_attachments_keeps_its_own_and_gets_no_others() {
    let folder = tempfile::tempdir().unwrap();
    omitting(folder.path());
    let mut stage = Stage::of(folder.path()).await;
    let proxy = stage.proxy().await;
    proxy.put(T1, todo("a")).await;
    attach(&proxy, T1, "a.png", "image/png", b"a").await;
    attach(&proxy, T3, "c.png", "image/png", b"c").await;
    // An edit that leaves attachments out takes none away from the others.
    proxy
        .put(T3, json!({"_rev": proxy.rev(T3).await, "title": "b", "group": "x"}))
        .await;
    attach(&proxy, T3, "d.png", "image/png", b"d").await;
    attach(&proxy, T2, "b.png", "image/png", b"b").await;
    let held = async |id| digests(&proxy, id).await.into_keys().collect::<Vec<_>>();
    assert_eq!(held(T1).await, ["a.png", "b.png"]);
    assert_eq!(held(T2).await, ["a.png", "b.png"]);
    assert_eq!(held(T3).await, ["d.png"]);
    assert_eq!(proxy.get(T1).await["title"], "b");
    // Once it no longer omits them, its own stay, and what is changed travels.
    stage.ended().await;
    stage.schemas(Path::new("schemas"));
    let proxy = stage.proxy().await;
    change(&proxy, T1, json!({"title": "c"})).await;
    let held = async |id| digests(&proxy, id).await.into_keys().collect::<Vec<_>>();
    assert_eq!(held(T3).await, ["a.png", "b.png", "d.png"]);
    change(&proxy, T3, json!({"title": "d"})).await;
    assert_attached(&proxy, &[("a.png", b"a"), ("b.png", b"b"), ("d.png", b"d")]).await;
    stage.end().await;
}
