//! What is large streams through: how much memory the proxy takes does not grow with an attachment, nor with a batch.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/binary.rs"]
mod binary;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use binary::{Server, chesterfield};
use bytes::Bytes;
use chesterfield::{
    proxy::{Passing, Proxy, Settings, serve},
    upstream::{Body, BoxError, Error, Upstream, UpstreamService, body},
};
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tower::service_fn;

/// As much as the proxy may take for anything at all: buffers of a few connections.
const LITTLE: usize = 16 << 20;

/// What the parts of a batch take that are worked on at one time, however many there are; the allocator's share of it varies.
const BOUND: usize = 100 << 20;

const PIECE: usize = 64 << 10;

/// An attachment of 100 MB.
const PIECES: usize = 1600;

/// A batch of 50 MB: documents of 16 KB.
const DOCUMENTS: usize = 3200;
const DOCUMENT: usize = 16 << 10;

/// A body without end, but for its number of pieces; nowhere held.
fn pieces(count: usize, piece: impl Fn(usize) -> Bytes + Send + 'static) -> Body {
    let frames = (0..count).map(move |n| Ok::<_, BoxError>(Frame::data(piece(n))));
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

fn attachment() -> Body {
    pieces(PIECES, |n| Bytes::from(vec![n as u8; PIECE]))
}

/// Reads to the end; hashing keeps it slower than whoever sends.
async fn digest(mut body: Body) -> (usize, Vec<u8>) {
    let (mut length, mut hash) = (0, Sha256::new());
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.unwrap().into_data() {
            length += piece.len();
            hash.update(&piece);
        }
    }
    (length, hash.finalize().to_vec())
}

fn title() -> String {
    "x".repeat(DOCUMENT - 100)
}

fn id(n: usize, prefix: &str) -> String {
    format!("todo-item:{prefix}{n}:v:1")
}

fn batch(prefix: &'static str) -> Body {
    batch_of(prefix, json!({}), json!({}))
}

/// Every other document has the one or the other in it.
fn batch_of(prefix: &'static str, even: Value, odd: Value) -> Body {
    let title = title();
    pieces(DOCUMENTS, move |n| {
        let (open, close) = (
            if n == 0 { "{\"docs\":[" } else { "," },
            if n == DOCUMENTS - 1 { "]}" } else { "" },
        );
        let mut document = json!({"_id": id(n, prefix), "title": &title, "isDone": false});
        let more = if n % 2 == 0 { &even } else { &odd };
        let more = more.as_object().unwrap().clone();
        document.as_object_mut().unwrap().extend(more);
        format!("{open}{document}{close}").into()
    })
}

/// What an upstream would have done.
#[derive(Default)]
struct Done {
    /// What `PUT`s brought.
    put: std::sync::Mutex<Option<(usize, Vec<u8>)>>,
    /// Revisions that were derived.
    derived: AtomicUsize,
    /// What the proxy sent in parts: the document it is for, and its length.
    uploaded: std::sync::Mutex<Vec<(String, usize)>>,
}

/// A CouchDB that keeps nothing: it has every document of version 1, and none of another.
async fn answer(done: Arc<Done>, request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let json = |status: StatusCode, value: Value| {
        let answer = Response::builder()
            .status(status)
            .header("content-type", "application/json");
        Ok(answer.body(body::full(value.to_string())).unwrap())
    };
    if path.ends_with("/_bulk_get") && head.uri.query() == Some("revs=true&att_encoding_info=true") {
        let asked: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
        let title = title();
        let found = |asked: &Value| {
            let id = asked["id"].as_str().unwrap();
            let document = if id.starts_with("todo-item:") && id.ends_with(":v:1") {
                let hash = "a".repeat(32);
                let mut document = json!({"_id": id, "_rev": format!("1-{hash}"), "_revisions": {"start": 1, "ids": [hash]},
                    "title": title, "isDone": false});
                if id.contains("pictured") {
                    document["_attachments"] = json!({"file": {"content_type": "image/png", "revpos": 1,
                        "digest": "md5-kAFQmDzST7DWlj99KOF/cg==", "length": PIECES * PIECE, "stub": true}});
                }
                json!({ "ok": document })
            } else {
                json!({"error": {"id": id, "rev": "undefined", "error": "not_found", "reason": "missing"}})
            };
            json!({"id": id, "docs": [document]})
        };
        let results: Vec<Value> = asked["docs"].as_array().unwrap().iter().map(found).collect();
        return json(StatusCode::OK, json!({ "results": results }));
    }
    if path.ends_with("/_bulk_docs") {
        let is_ours = !head.headers.contains_key("user-agent");
        if is_ours {
            let written: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
            done.derived
                .fetch_add(written["docs"].as_array().unwrap().len(), Ordering::Relaxed);
            return json(StatusCode::CREATED, json!([]));
        }
        digest(body).await;
        let rows = pieces(DOCUMENTS, |n| {
            format!(
                "{}{{\"ok\":true,\"id\":\"{n}\",\"rev\":\"1-a\"}}",
                if n == 0 { "[" } else { "," }
            )
            .into()
        });
        return Ok(Response::builder().status(StatusCode::CREATED).body(rows).unwrap());
    }
    if !path.starts_with("/todos/") {
        return json(StatusCode::OK, json!({}));
    }
    if head.method == "PUT" && !head.headers.contains_key("user-agent") {
        let (length, _) = digest(body).await;
        done.uploaded.lock().unwrap().push((path.to_owned(), length));
        return json(StatusCode::CREATED, json!({"ok": true}));
    }
    if head.method == "PUT" {
        let seen = digest(body).await;
        *done.put.lock().unwrap() = Some(seen);
        return json(
            StatusCode::CREATED,
            json!({"ok": true, "id": path.split('/').nth(2), "rev": "1-a"}),
        );
    }
    body.collect().await.unwrap();
    Ok(Response::new(attachment()))
}

/// The proxy in a process of its own.
struct Measured {
    server: Server,
    client: Client<HttpConnector, Body>,
    done: Arc<Done>,
    _upstream: AbortOnDropHandle<()>,
}

impl Measured {
    async fn start() -> Self {
        Self::start_with("config.yaml").await
    }

    async fn start_with(config: impl AsRef<Path>) -> Self {
        let done = Arc::new(Done::default());
        let given = done.clone();
        let upstream = Upstream {
            service: UpstreamService::new(service_fn(move |request| answer(given.clone(), request))),
            account: None,
            name: "test".into(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let proxy = Proxy::new(Settings::default(), upstream.clone(), Arc::new(Passing(upstream))).unwrap();
        let task = tokio::spawn(serve(listener, Arc::new(proxy), CancellationToken::new()));
        let mut command = chesterfield(Path::new(env!("CARGO_MANIFEST_DIR")));
        command
            .arg("serve")
            .env("CHESTERFIELD_CONFIG", config.as_ref())
            .env("CHESTERFIELD_SCHEMAS", "schemas")
            .env("CHESTERFIELD_LISTEN", "127.0.0.1:0")
            .env("CHESTERFIELD_UPSTREAM", url);
        let server = tokio::task::spawn_blocking(move || Server::start(&mut command))
            .await
            .unwrap();
        Self {
            server,
            client: Client::builder(TokioExecutor::new()).build_http(),
            done,
            _upstream: AbortOnDropHandle::new(task),
        }
    }

    async fn ask(&self, method: &str, path: &str, kind: &str, body: Body) -> (StatusCode, (usize, Vec<u8>)) {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/todos/{path}", self.server.url))
            .header("content-type", kind)
            .header("user-agent", "test")
            .body(body)
            .unwrap();
        let answer = self.client.request(request).await.unwrap();
        let (head, body) = answer.into_parts();
        (head.status, digest(body.map_err(Into::into).boxed_unsync()).await)
    }

    /// Asks it to end; answers how many revisions were derived until then.
    async fn stop(self) -> usize {
        let server = self.server;
        let stopped = tokio::task::spawn_blocking(move || server.signal("TERM"));
        assert!(stopped.await.unwrap().success());
        self.done.derived.load(Ordering::Relaxed)
    }

    /// How far the peak of resident memory is above where it began.
    async fn growth<T>(&self, work: impl Future<Output = T>) -> (usize, T) {
        let proc = format!("/proc/{}", self.server.id());
        let read = |name: &str| {
            let status = fs::read_to_string(format!("{proc}/status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            let kilobytes: usize = line
                .trim_start_matches(':')
                .trim()
                .trim_end_matches(" kB")
                .parse()
                .unwrap();
            kilobytes << 10
        };
        // The peak begins anew (`man 5 proc`).
        fs::write(format!("{proc}/clear_refs"), "5").unwrap();
        let before = read("VmRSS");
        let result = work.await;
        let growth = read("VmHWM").saturating_sub(before);
        (growth, result)
    }
}

#[tokio::test]
async fn an_attachment_of_100_mb_takes_little() {
    let proxy = Measured::start().await;
    let expected = digest(attachment()).await;
    assert_eq!(expected.0, 100 << 20);
    // Alone.
    let put = proxy.ask("PUT", "todo-item:a:v:1/file", "image/png", attachment());
    let (growth, (status, _)) = proxy.growth(put).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(proxy.done.put.lock().unwrap().take().as_ref(), Some(&expected));
    assert!(growth < LITTLE, "{growth} bytes for an attachment");
    assert_eq!(
        proxy.done.derived.swap(0, Ordering::Relaxed),
        3,
        "its document is carried"
    );
    // In parts, behind its document: to the proxy one is as good as another.
    let put = proxy.ask(
        "PUT",
        "todo-item:a:v:1?new_edits=false",
        "multipart/related; boundary=\"a\"",
        attachment(),
    );
    let (growth, (status, _)) = proxy.growth(put).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(proxy.done.put.lock().unwrap().take().as_ref(), Some(&expected));
    assert!(growth < LITTLE, "{growth} bytes for a document in parts");
    assert_eq!(proxy.done.derived.swap(0, Ordering::Relaxed), 3, "it is carried");
    // And back.
    for (method, path) in [
        ("GET", "todo-item:a:v:1/file"),
        ("GET", "todo-item:a:v:1?attachments=true"),
        ("GET", "todo-item:a:v:1?open_revs=all&revs=true"),
        ("POST", "_bulk_get?revs=true&attachments=true"),
    ] {
        let (growth, (status, seen)) = proxy
            .growth(proxy.ask(method, path, "application/json", body::empty()))
            .await;
        assert_eq!((status, &seen), (StatusCode::OK, &expected), "{path}");
        assert!(growth < LITTLE, "{growth} bytes for {path}");
    }
}

#[tokio::test]
async fn an_attachment_of_100_mb_is_carried_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    // The answer comes when it is everywhere.
    fs::write(&config, "timeouts:\n  fan-out: 600s\n").unwrap();
    let proxy = Measured::start_with(config).await;
    let put = proxy.ask("PUT", "todo-item:pictured:v:1/file", "image/png", attachment());
    let (growth, (status, _)) = proxy.growth(put).await;
    assert_eq!(status, StatusCode::CREATED);
    let mut uploaded = std::mem::take(&mut *proxy.done.uploaded.lock().unwrap());
    uploaded.sort();
    let ids: Vec<&str> = uploaded.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "/todos/todo-item%3Apictured%3Av%3A2",
            "/todos/todo-item%3Apictured%3Av%3A3"
        ]
    );
    assert!(
        uploaded
            .iter()
            .all(|(_, length)| (PIECES * PIECE..PIECES * PIECE + DOCUMENT + 1000).contains(length))
    );
    assert!(growth < LITTLE, "{growth} bytes for two copies of an attachment");
    assert_eq!(proxy.stop().await, 1, "its status has none");
}

#[tokio::test]
async fn batches_of_50_mb_are_carried_in_bounded_memory() {
    let proxy = Measured::start().await;
    let size = digest(batch("a")).await.0;
    assert!(size > 50_000_000);
    let post = |prefix| proxy.ask("POST", "_bulk_docs", "application/json", batch(prefix));
    let (growth, (status, _)) = proxy.growth(post("a")).await;
    assert_eq!(status, StatusCode::CREATED);
    assert!(growth < BOUND, "{growth} bytes for one of {size}");
    let (more, (a, b, c)) = proxy
        .growth(async { tokio::join!(post("b"), post("c"), post("d")) })
        .await;
    assert_eq!([a.0, b.0, c.0], [StatusCode::CREATED; 3]);
    assert!(more < BOUND, "{more} bytes for three of {size}");
    // Whatever is still to be carried is, before it stops.
    assert_eq!(proxy.stop().await, 4 * 3 * DOCUMENTS);
}

#[tokio::test]
async fn a_batch_of_50_mb_is_validated_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.yaml");
    fs::write(&config, "validate: enforce\n").unwrap();
    let proxy = Measured::start_with(config).await;
    let (good, bad) = (json!({"schema": "todo-item", "version": 1}), json!({"isDone": "no"}));
    let batch = |prefix| batch_of(prefix, good.clone(), bad.clone());
    assert!(digest(batch("e")).await.0 > 50_000_000);
    let post = |prefix| proxy.ask("POST", "_bulk_docs", "application/json", batch(prefix));
    let (growth, (a, b, c)) = proxy
        .growth(async { tokio::join!(post("e"), post("f"), post("g")) })
        .await;
    assert_eq!([a.0, b.0, c.0], [StatusCode::CREATED; 3]);
    assert!(growth < BOUND, "{growth} bytes for three");
    assert_eq!(proxy.stop().await, 3 * 3 * DOCUMENTS / 2, "of those that fit");
}
