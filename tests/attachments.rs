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
    // By itself, and over a name that has to be encoded.
    attach(&proxy, T3, "b%20%C3%BC%2F.png", "image/png", &[0, 1, 2]).await;
    assert_attached(&proxy, &[("a.txt", b"hello")][..0])
        .await_not(&proxy)
        .await;
    stage.end().await;
}
