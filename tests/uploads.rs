//! However a body is sent, in pieces, compressed or only when asked for, what it writes is there in every version.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/stage.rs"]
mod stage;
mod support;

use std::io::Write as _;

use chesterfield::proxy::writes::Limits;
use http::StatusCode;
use serde_json::{Value, json};
use stage::{Asking, Stage};
use support::{Wire, soon};
use tokio::net::TcpStream;

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Its length is said.
    Whole,
    /// In many chunks.
    Chunked,
    /// In many chunks of a gzip stream.
    Gzip,
    /// Once the server asks for it.
    Expected,
}

const WAYS: [How; 4] = [How::Whole, How::Chunked, How::Gzip, How::Expected];

/// More than are held (500), so that they pass as they come.
const MANY: usize = 620;

fn todo(key: &str) -> Value {
    json!({"_id": format!("todo-item:{key}:v:1"), "schema": "todo-item", "version": 1, "title": key, "isDone": true})
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body).unwrap();
    gzip.finish().unwrap()
}

/// Sends a request in one of these ways; answers status and body.
async fn send(db: &Asking, how: How, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, Value) {
    let url = db.url();
    let (address, target) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut wire = Wire::new(soon(TcpStream::connect(address)).await.unwrap());
    let mut headers = format!("content-type: {kind}\r\naccept: application/json\r\n");
    if let Some(value) = db.authorization() {
        headers.push_str(&format!("authorization: {value}\r\n"));
    }
    let body = if how == How::Gzip { gzip(body) } else { body.to_vec() };
    match how {
        How::Whole => headers.push_str(&format!("content-length: {}\r\n", body.len())),
        How::Chunked => headers.push_str("transfer-encoding: chunked\r\n"),
        How::Gzip => headers.push_str("transfer-encoding: chunked\r\ncontent-encoding: gzip\r\n"),
        How::Expected => headers.push_str(&format!("content-length: {}\r\nexpect: 100-continue\r\n", body.len())),
    }
    wire.ask(method, &format!("/{target}{path}"), &headers).await;
    match how {
        How::Whole => wire.send(&body).await,
        How::Expected => {
            assert_eq!(wire.head().await.status(), 100);
            wire.send(&body).await;
        }
        How::Chunked | How::Gzip => {
            for piece in body.chunks(body.len() / 7 + 1) {
                wire.send(format!("{:x}\r\n", piece.len())).await;
                wire.send(piece).await;
                wire.send("\r\n").await;
            }
            wire.send("0\r\n\r\n").await;
        }
    }
    let (head, said) = wire.message().await;
    (head.status(), serde_json::from_str(&said).unwrap_or(Value::Null))
}

async fn assert_carried(db: &Asking, key: &str) {
    let shown = db.get(&format!("todo-item:{key}:v:3")).await;
    assert_eq!(shown["title"], key, "{key}");
    assert_eq!(
        db.get(&format!("todo-item-status:{key}:v:1")).await["status"],
        "done",
        "{key}"
    );
}

#[tokio::test]
async fn documents_are_carried_however_they_are_sent() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    for how in WAYS {
        let key = format!("put-{how:?}");
        let path = format!("/todo-item:{key}:v:1");
        let body = todo(&key).to_string();
        let (status, said) = send(&proxy, how, "PUT", &path, "application/json", body.as_bytes()).await;
        assert_eq!((status, &said["ok"]), (201, &json!(true)), "{how:?}");
        assert_carried(&proxy, &key).await;

        let key = format!("post-{how:?}");
        let body = todo(&key).to_string();
        let (status, said) = send(&proxy, how, "POST", "", "application/json", body.as_bytes()).await;
        assert_eq!((status, &said["ok"]), (201, &json!(true)), "{how:?}");
        assert_carried(&proxy, &key).await;
    }
    stage.end().await;
}

#[tokio::test]
async fn batches_are_carried_however_they_are_sent() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    for how in WAYS {
        for count in [3, MANY] {
            for new_edits in [true, false] {
                let key = |n| format!("{how:?}-{count}-{new_edits}-{n}");
                let document = |n| {
                    let mut document = todo(&key(n));
                    if !new_edits {
                        document["_rev"] = json!(format!("1-{}", "a".repeat(32)));
                    }
                    document
                };
                let docs: Vec<Value> = (0..count).map(document).collect();
                let body = json!({"docs": docs, "new_edits": new_edits}).to_string();
                let (status, said) =
                    send(&proxy, how, "POST", "/_bulk_docs", "application/json", body.as_bytes()).await;
                let rows = if new_edits { count } else { 0 };
                assert_eq!((status, said.as_array().unwrap().len()), (201, rows), "{how:?} {count}");
                for n in [0, count / 2, count - 1] {
                    assert_carried(&proxy, &key(n)).await;
                }
            }
        }
    }
    stage.end().await;
}

/// A document and an attachment in parts.
fn related(key: &str, attachment: &[u8]) -> Vec<u8> {
    let mut document = todo(key);
    document["_rev"] = json!(format!("1-{}", "c".repeat(32)));
    document["_attachments"] = json!({"file": {
        "follows": true, "content_type": "application/octet-stream", "length": attachment.len()}});
    let mut body = format!("--abc\r\ncontent-type: application/json\r\n\r\n{document}\r\n--abc\r\n\r\n").into_bytes();
    body.extend_from_slice(attachment);
    body.extend_from_slice(b"\r\n--abc--");
    body
}

#[tokio::test]
async fn attachments_are_kept_and_their_documents_carried() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let attachment: Vec<u8> = (0..200_000u32).map(|n| (n * 7 / 3) as u8).collect();
    // A part is never compressed: CouchDB takes `Content-Encoding` for that of a JSON body, or of the attachment as it is stored.
    for how in [How::Whole, How::Chunked, How::Expected] {
        let key = format!("related-{how:?}");
        let path = format!("/todo-item:{key}:v:1?new_edits=false");
        let kind = "multipart/related; boundary=\"abc\"";
        let (status, said) = send(&proxy, how, "PUT", &path, kind, &related(&key, &attachment)).await;
        assert_eq!((status, &said["ok"]), (201, &json!(true)), "{how:?}");
        assert_carried(&proxy, &key).await;
        let path = format!("todo-item:{key}:v:1/file");
        assert_eq!(proxy.ask("GET", &path, "").await.bytes, attachment, "{how:?}");

        // Alone: of a document that is there, and of one that it makes.
        let rev = proxy.rev(&format!("todo-item:{key}:v:1")).await;
        let path = format!("/todo-item:{key}:v:1/other?rev={rev}");
        let (status, _) = send(&proxy, how, "PUT", &path, "image/png", &attachment).await;
        assert_eq!(status, 201, "{how:?}");
        let path = format!("todo-item:{key}:v:1/other");
        assert_eq!(proxy.ask("GET", &path, "").await.bytes, attachment, "{how:?}");
        assert_carried(&proxy, &key).await;
        assert_eq!(proxy.leaves(&format!("todo-item:{key}:v:3")).await.len(), 1);
    }
    stage.end().await;
}

#[tokio::test]
async fn a_batch_that_proves_too_long_is_refused_and_nothing_written() {
    let mut stage = Stage::new().await;
    let limits = Limits {
        body: 100_000,
        ..Limits::default()
    };
    let proxy = stage.proxy_with(limits).await;
    let docs: Vec<Value> = (0..2000).map(|n| todo(&n.to_string())).collect();
    let body = json!({ "docs": docs }).to_string();
    assert!(
        gzip(body.as_bytes()).len() < 100_000,
        "what counts is its length once it is unpacked"
    );
    for how in [How::Chunked, How::Gzip] {
        let (status, said) = send(&proxy, how, "POST", "/_bulk_docs", "application/json", body.as_bytes()).await;
        assert_eq!((status, &said["error"]), (413, &json!("too_large")), "{how:?}");
    }
    assert_eq!(stage.direct().ask("GET", "", "").await.body["doc_count"], 0);
    stage.end().await;
}

/// Clients that send before they read, CouchDB's replicator among them, would otherwise see a broken connection, and try again.
#[tokio::test]
async fn a_batch_that_is_too_long_may_be_sent_to_its_end() {
    let mut stage = Stage::new().await;
    let limits = Limits {
        body: 100_000,
        ..Limits::default()
    };
    let proxy = stage.proxy_with(limits).await;
    // More than sockets hold.
    let body = format!(r#"{{"docs":[{}]}}"#, " ".repeat(30_000_000));
    for how in [How::Whole, How::Chunked] {
        let (status, said) = send(&proxy, how, "POST", "/_bulk_docs", "application/json", body.as_bytes()).await;
        assert_eq!((status, &said["error"]), (413, &json!("too_large")), "{how:?}");
    }
    stage.end().await;
}

#[tokio::test]
async fn what_finds_no_room_is_carried_all_the_same() {
    let mut stage = Stage::new().await;
    let limits = Limits {
        held: 0,
        ..Limits::default()
    };
    let proxy = stage.proxy_with(limits).await;
    for how in WAYS {
        let long = |key: &str| {
            let mut document = todo(key);
            document["text"] = json!((0..20_000).map(|n| format!("{n} ")).collect::<String>());
            document
        };
        let (one, several) = (format!("one-{how:?}"), format!("several-{how:?}"));
        let path = format!("/todo-item:{one}:v:1");
        let (status, _) = send(
            &proxy,
            how,
            "PUT",
            &path,
            "application/json",
            long(&one).to_string().as_bytes(),
        )
        .await;
        assert_eq!(status, 201, "{how:?}");
        assert_carried(&proxy, &one).await;
        let body = json!({"docs": [long(&several), {"_id": "plain"}]}).to_string();
        let (status, _) = send(&proxy, how, "POST", "/_bulk_docs", "application/json", body.as_bytes()).await;
        assert_eq!(status, 201, "{how:?}");
        assert_carried(&proxy, &several).await;
    }
    stage.end().await;
}

/// A conflict in a batch that passes is not written, and does no harm.
#[tokio::test]
async fn of_a_long_batch_what_was_refused_stays_as_it_was() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    proxy.put("todo-item:0:v:1", todo("before")).await;
    let docs: Vec<Value> = (0..MANY).map(|n| todo(&n.to_string())).collect();
    let answer = proxy
        .ask("POST", "_bulk_docs", json!({ "docs": docs }).to_string())
        .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.body[0]["error"], "conflict");
    assert_eq!(proxy.get("todo-item:0:v:3").await["title"], "before");
    assert_carried(&proxy, "1").await;
    stage.end().await;
}

/// Of a batch that is held, too: what is read ahead has to be held beside it.
#[tokio::test]
async fn what_is_too_large_to_be_read_at_once_is_carried_in_parts() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let keys = ["a", "b", "c"];
    let document = |key: &str| {
        let mut document = todo(key);
        document["text"] = json!("x".repeat(1_200_000));
        document
    };
    let docs: Vec<Value> = keys.map(document).into();
    let answer = proxy
        .ask("POST", "_bulk_docs", json!({ "docs": docs }).to_string())
        .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    // Eleven megabytes in three versions.
    let edited = docs
        .into_iter()
        .zip(answer.body.as_array().unwrap())
        .map(|(mut document, row)| {
            document["_rev"] = row["rev"].clone();
            document["isDone"] = json!(false);
            document
        });
    let body = json!({ "docs": edited.collect::<Vec<_>>() }).to_string();
    assert!(body.len() < 4 << 20, "it is held");
    assert_eq!(proxy.ask("POST", "_bulk_docs", body).await.status, StatusCode::CREATED);
    for key in keys {
        assert_eq!(
            proxy.get(&format!("todo-item-status:{key}:v:1")).await["status"],
            "active"
        );
        assert_eq!(
            proxy.get(&format!("todo-item:{key}:v:3")).await["text"]
                .as_str()
                .unwrap()
                .len(),
            1_200_000
        );
    }
    stage.end().await;
}
