//! Documents and the JSON Schemas of their classes: what a lens makes has to fit, and what clients write where that is enforced.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/binary.rs"]
mod binary;
#[path = "support/client.rs"]
mod client;
#[path = "support/npm.rs"]
mod npm;
#[path = "support/stage.rs"]
mod stage;

use std::{env, fs, io::Write as _, path::Path};

use binary::{Server, chesterfield};
use chesterfield::proxy::{validate::Validate, writes::Limits};
use http::StatusCode;
use serde_json::{Value, json};
use stage::{Answered, Asking, Stage};

const T1: &str = "todo-item:k:v:1";
const T2: &str = "todo-item:k:v:2";
const T3: &str = "todo-item:k:v:3";
const S: &str = "todo-item-status:k:v:1";

const REASON: &str = "todo-item@1: /title is not of type \"string\" (rule /properties/title/type)";

fn todo(title: impl Into<Value>) -> Value {
    json!({"schema": "todo-item", "version": 1, "title": title.into(), "isDone": false})
}

fn with(mut document: Value, fields: Value) -> Value {
    let fields = fields.as_object().unwrap().clone();
    document.as_object_mut().unwrap().extend(fields);
    document
}

fn on(rev: &str, document: Value) -> Value {
    with(document, json!({ "_rev": rev }))
}

fn named(key: &str, title: impl Into<Value>) -> Value {
    with(todo(title), json!({"_id": format!("todo-item:{key}:v:1")}))
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

/// Todos of version 1 have to fit.
async fn enforcing(limits: Limits) -> (Stage, Asking) {
    let mut stage = Stage::new().await;
    stage.validate("todo-item@1", Validate::Enforce, Validate::Off);
    let proxy = stage.proxy_with(limits).await;
    (stage, proxy)
}

fn assert_forbidden(answer: &Answered) {
    let expected = json!({"error": "forbidden", "reason": REASON});
    assert_eq!((answer.status, &answer.body), (StatusCode::FORBIDDEN, &expected));
    assert_eq!(answer.headers["content-type"], "application/json");
}

#[tokio::test]
async fn what_a_lens_makes_has_to_fit_its_class() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    // A client's mistake is its own: nobody else is made to see it.
    let rev = proxy.put(T1, todo(5)).await;
    assert_eq!(proxy.get(T1).await["title"], 5);
    assert_eq!(proxy.get(S).await["status"], "active", "what fits is carried");
    for id in [T2, T3] {
        assert_eq!(proxy.get(id).await, Value::Null, "{id}");
    }
    // Once it is mended, all is.
    let rev = proxy.put(T1, on(&rev, todo("five"))).await;
    for id in [T2, T3] {
        assert_eq!(proxy.get(id).await["title"], "five", "{id}");
        assert_eq!(proxy.leaves(id).await.len(), 1, "{id}");
    }
    // Whatever was there stays as it is until then.
    let rev = proxy.put(T1, on(&rev, todo(6))).await;
    assert_eq!(proxy.get(T3).await["title"], "five");
    proxy.put(T1, on(&rev, todo("six"))).await;
    assert_eq!(proxy.get(T3).await["title"], "six");
    // Deletions are no documents.
    let last = proxy.rev(T1).await;
    proxy.ask("DELETE", &format!("{T1}?rev={last}"), "").await;
    assert_eq!(proxy.get(T3).await, Value::Null);
    stage.end().await;
}

#[tokio::test]
async fn a_document_that_does_not_fit_is_refused_however_it_is_sent() {
    let (stage, proxy) = enforcing(Limits::default()).await;
    let bad = todo(5).to_string();
    let parts = |document: &Value| {
        format!("--b\r\ncontent-type: application/json\r\n\r\n{document}\r\n--b\r\n\r\nhello\r\n--b--")
    };
    let attached = json!({"_attachments": {"f": {"follows": true, "length": 5, "content_type": "text/plain"}}});
    let replicated = with(todo(5), json!({"_rev": "1-a"}));
    let related = ("content-type", "multipart/related; boundary=\"b\"");
    let other_id = with(todo(5), json!({"_id": "plain"}));
    for answer in [
        proxy.ask("PUT", T1, bad.clone()).await,
        proxy.ask("PUT", &format!("{T1}?batch=ok"), bad.clone()).await,
        proxy.ask("PUT", T1, other_id.to_string()).await,
        proxy
            .ask_with("PUT", T1, &[("content-encoding", "gzip")], gzip(&bad))
            .await,
        proxy
            .ask_with("PUT", T1, &[("content-type", "text/plain")], bad.clone())
            .await,
        proxy
            .ask("PUT", &format!("{T1}?new_edits=false"), replicated.to_string())
            .await,
        proxy
            .ask_with("PUT", T1, &[related], parts(&with(todo(5), attached.clone())))
            .await,
        // The boundary may stand in the document, too.
        proxy
            .ask_with("PUT", T1, &[related], parts(&with(todo(5), json!({"note": "--b"}))))
            .await,
        // These are JSON to CouchDB (measured on 3.5.0).
        proxy
            .ask_with(
                "PUT",
                T1,
                &[("content-type", "Multipart/Related; boundary=b")],
                bad.clone(),
            )
            .await,
        proxy
            .ask_with(
                "PUT",
                T1,
                &[("content-type", "multipart/mixed; boundary=b")],
                bad.clone(),
            )
            .await,
        proxy
            .ask("POST", "", with(todo(5), json!({"_id": T1})).to_string())
            .await,
    ] {
        assert_forbidden(&answer);
    }
    assert_eq!(proxy.get(T1).await, Value::Null);
    // What fits passes, its attachments with it, and what is of no class that is enforced.
    let answer = proxy
        .ask_with("PUT", T1, &[related], parts(&with(todo("k"), attached)))
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_eq!(proxy.ask("GET", &format!("{T1}/f"), "").await.bytes, "hello");
    assert_eq!(proxy.get(T3).await["title"], "k");
    let rev = proxy.rev(T1).await;
    let answer = proxy
        .ask_with(
            "PUT",
            &format!("{T1}/g?rev={rev}"),
            &[("content-type", "text/plain")],
            "g",
        )
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    for (id, document) in [
        ("plain", json!({"title": 5})),
        ("todo-item:x:v:2", json!({"title": 5})),
        ("_local/todo-item:x:v:1", json!({})),
    ] {
        let answer = proxy.ask("PUT", id, document.to_string()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{id}");
    }
    // CouchDB says itself what is no document.
    for text in ["", "5", "{", "[]"] {
        let answer = proxy.ask("PUT", T1, text).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{text}");
    }
    // A tombstone is none to look at.
    let rev = proxy.rev(T1).await;
    let answer = proxy
        .ask(
            "PUT",
            T1,
            json!({"_rev": rev, "_deleted": true, "title": 5}).to_string(),
        )
        .await;
    assert!(answer.status.is_success(), "{answer:?}");
    stage.end().await;
}

#[tokio::test]
async fn of_a_batch_only_what_does_not_fit_is_left_out() {
    let (stage, proxy) = enforcing(Limits::default()).await;
    let bulk = |body: Value| {
        let proxy = proxy.clone();
        async move { proxy.ask("POST", "_bulk_docs", body.to_string()).await }
    };
    let tombstone = json!({"_id": "todo-item:f:v:1", "_deleted": true});
    let answer = bulk(json!({"docs": [
        named("a", 5), named("b", "b"), {"_id": "plain"}, named("c", 5), named("d", 5), tombstone, named("e", "e"), named("g", 5),
    ]}))
    .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let rows: Vec<(&str, bool)> = answer
        .body
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["id"].as_str().unwrap(), row["ok"] == true))
        .collect();
    let [a, b, c, d, e, f, g] = ["a", "b", "c", "d", "e", "f", "g"].map(|key| format!("todo-item:{key}:v:1"));
    let expected = [
        (&*a, false),
        (&b, true),
        ("plain", true),
        (&c, false),
        (&d, false),
        (&f, true),
        (&e, true),
        (&g, false),
    ];
    assert_eq!(rows, expected);
    assert_eq!(answer.body[0], json!({"id": a, "error": "forbidden", "reason": REASON}));
    for (key, title) in [
        ("b", json!("b")),
        ("e", json!("e")),
        ("a", Value::Null),
        ("c", Value::Null),
    ] {
        assert_eq!(
            proxy.get(&format!("todo-item:{key}:v:3")).await["title"],
            title,
            "{key}"
        );
        assert_eq!(
            proxy.get(&format!("todo-item:{key}:v:1")).await["title"],
            title,
            "{key}"
        );
    }
    // All of them.
    let answer = bulk(json!({"docs": [named("h", 5)]})).await;
    assert_eq!(
        (answer.status, answer.body),
        (
            StatusCode::CREATED,
            json!([{"id": "todo-item:h:v:1", "error": "forbidden", "reason": REASON}])
        )
    );
    // Replicated: failures alone, with their revisions.
    let (p, q) = ("a".repeat(32), "b".repeat(32));
    let answer = bulk(json!({"docs": [
        with(named("p", 5), json!({"_rev": format!("1-{p}")})),
        with(named("q", "q"), json!({"_rev": format!("1-{q}")})),
        with(named("r", 5), json!({"_revisions": {"start": 2, "ids": [p, q]}})),
    ], "new_edits": false}))
    .await;
    let refused = |key: &str, rev: String| json!({"id": format!("todo-item:{key}:v:1"), "rev": rev, "error": "forbidden", "reason": REASON});
    assert_eq!(
        (answer.status, answer.body),
        (
            StatusCode::CREATED,
            json!([refused("p", format!("1-{p}")), refused("r", format!("2-{p}"))])
        )
    );
    assert_eq!(proxy.get("todo-item:q:v:3").await["title"], "q");
    // What CouchDB refuses as a whole, it does.
    for text in ["", "{}", "{\"docs\":5}", "{\"docs\":[{},]}", "{\"docs\":[5]}"] {
        let (ours, theirs) = (
            proxy.ask("POST", "_bulk_docs", text).await,
            stage.direct().ask("POST", "_bulk_docs", text).await,
        );
        assert_eq!((ours.status, ours.body), (theirs.status, theirs.body), "{text}");
    }
    let answer = proxy
        .ask_with("POST", "_bulk_docs", &[("content-encoding", "gzip")], "no gzip")
        .await;
    assert_eq!(
        (answer.status, &answer.body["reason"]),
        (StatusCode::BAD_REQUEST, &json!("Request body is not properly gzipped."))
    );
    stage.end().await;
}

/// More than are held, and an answer that is longer than what is read of one.
#[tokio::test]
async fn a_long_batch_is_looked_at_while_it_passes() {
    const MANY: usize = 620;
    let (stage, proxy) = enforcing(Limits::default()).await;
    let text = "x".repeat(500);
    let docs: Vec<Value> = (0..MANY)
        .map(|n| {
            if n % 3 == 0 {
                named(&n.to_string(), n)
            } else {
                named(&n.to_string(), text.clone())
            }
        })
        .collect();
    let body = json!({ "docs": docs }).to_string();
    for (headers, body) in [
        (&[][..], body.clone().into_bytes()),
        (&[("content-encoding", "gzip")], gzip(&body)),
    ] {
        let answer = proxy.ask_with("POST", "_bulk_docs", headers, body).await;
        assert_eq!(answer.status, StatusCode::CREATED);
        let rows = answer.body.as_array().unwrap();
        assert_eq!(rows.len(), MANY);
        for (n, row) in rows.iter().enumerate() {
            assert_eq!(row["id"], format!("todo-item:{n}:v:1"));
            assert_eq!(row["error"] == "forbidden", n % 3 == 0, "{row}");
        }
    }
    assert_eq!(proxy.get("todo-item:1:v:3").await["title"], text);
    assert_eq!(proxy.get("todo-item:3:v:1").await, Value::Null);
    stage.end().await;
}

#[tokio::test]
async fn what_tells_of_refused_documents_is_held_within_limits() {
    let limits = Limits {
        held: 256 << 10,
        ..Limits::default()
    };
    let (stage, proxy) = enforcing(limits).await;
    let refused = |n: usize| named(&format!("r{n}"), n);
    let batch = |count: usize| {
        let documents = (0..count).map(refused).chain([named("last", "l")]);
        json!({"docs": documents.collect::<Vec<_>>()}).to_string()
    };
    let answer = proxy.ask("POST", "_bulk_docs", batch(2000)).await;
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large"))
    );
    assert_eq!(stage.direct().get("todo-item:last:v:1").await, Value::Null);
    let answer = proxy.ask("POST", "_bulk_docs", batch(200)).await;
    assert_eq!(answer.body.as_array().unwrap().len(), 201);
    assert_ne!(stage.direct().get("todo-item:last:v:1").await, Value::Null);
    stage.end().await;
}

#[tokio::test]
async fn what_cannot_be_held_is_not_written_unseen() {
    let limits = Limits {
        held: 256 << 10,
        ..Limits::default()
    };
    let (mut stage, proxy) = enforcing(limits).await;
    // Longer than any piece it may come in.
    let long = with(named("long", "l"), json!({"note": "x".repeat(2 << 20)}));
    let batch = json!({"docs": [named("a", "a"), &long]}).to_string();
    for (method, path, body) in [("POST", "", long.to_string()), ("POST", "_bulk_docs", batch.clone())] {
        let answer = proxy.ask(method, path, body).await;
        assert_eq!(
            (answer.status, &answer.body["error"]),
            (StatusCode::PAYLOAD_TOO_LARGE, &json!("document_too_large"))
        );
    }
    assert_eq!(proxy.get("todo-item:a:v:1").await, Value::Null);
    // Where nothing is enforced it passes.
    stage.validate("todo-item@1", Validate::Warn, Validate::Off);
    let warning = stage.proxy_with(limits).await;
    let answer = warning.ask("POST", "_bulk_docs", batch).await;
    assert_eq!(answer.body.as_array().unwrap().len(), 2, "{answer:?}");
    assert_eq!(warning.get("todo-item:long:v:3").await["title"], "l");
    stage.end().await;
}

#[tokio::test]
async fn a_warning_refuses_nothing() {
    let mut stage = Stage::new().await;
    stage.validate("todo-item@1", Validate::Warn, Validate::Warn);
    let proxy = stage.proxy().await;
    proxy.put(T1, todo(5)).await;
    let answer = proxy
        .ask(
            "POST",
            "_bulk_docs",
            json!({"docs": [named("a", 5), named("b", "b")]}).to_string(),
        )
        .await;
    assert!(
        answer.body.as_array().unwrap().iter().all(|row| row["ok"] == true),
        "{answer:?}"
    );
    assert_eq!(proxy.get("todo-item:a:v:1").await["title"], 5);
    stage.end().await;
}

/// Side by side with a function that refuses the same; the embedded store has none.
#[tokio::test]
async fn a_refusal_looks_like_one_of_validate_doc_update() {
    if env::var("COUCHDB_URL").is_err() {
        return;
    }
    let (stage, proxy) = enforcing(Limits::default()).await;
    let couch = stage.direct();
    let function = format!(
        "function (doc) {{ if (typeof doc.title === 'number') throw {{ forbidden: {} }}; }}",
        json!(REASON)
    );
    couch
        .put("_design/guard", json!({ "validate_doc_update": function }))
        .await;
    let rev = format!("1-{}", "a".repeat(32));
    let docs = json!([named("a", 5), named("b", "b"), named("c", 5)]);
    let replicated = json!([
        with(named("a", 5), json!({"_rev": rev})),
        with(named("d", "d"), json!({"_rev": rev})),
        with(named("c", 5), json!({"_rev": rev}))
    ]);
    for (method, path, body) in [
        ("PUT", T1, todo(5)),
        (
            "PUT",
            "todo-item:k:v:1?new_edits=false",
            with(todo(5), json!({"_rev": rev})),
        ),
        ("POST", "", with(todo(5), json!({"_id": T1}))),
        ("POST", "_bulk_docs", json!({"docs": replicated, "new_edits": false})),
        ("POST", "_bulk_docs", json!({ "docs": docs })),
    ] {
        let theirs = couch.ask(method, path, body.to_string()).await;
        // Written by the other way.
        for id in ["todo-item:b:v:1"] {
            if let Value::Object(_) = couch.get(id).await {
                couch
                    .ask("DELETE", &format!("{id}?rev={}", couch.rev(id).await), "")
                    .await;
            }
        }
        let ours = proxy.ask(method, path, body.to_string()).await;
        let rowed = |answer: &Answered| {
            let mut body = answer.body.clone();
            for row in body
                .as_array_mut()
                .into_iter()
                .flatten()
                .filter(|row| row["ok"] == true)
            {
                row["rev"] = Value::Null;
            }
            (
                answer.status,
                body,
                answer.headers["content-type"].clone(),
                answer.headers["cache-control"].clone(),
                answer.bytes.ends_with(b"\n"),
            )
        };
        assert_eq!(rowed(&ours), rowed(&theirs), "{method} {path}");
    }
    stage.end().await;
}

#[test]
fn pouchdb_is_denied_what_does_not_fit_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let config = "validate: { \"todo-item@1\": enforce, \"todo-item@2\": off, \"todo-item@*\": warn }\n";
    fs::write(folder.path().join("config.yaml"), config).unwrap();
    let mut serve = chesterfield(folder.path());
    let server = Server::start(
        serve
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env(
                "CHESTERFIELD_SCHEMAS",
                Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas"),
            )
            .env("CHESTERFIELD_UPSTREAM", client::upstream()),
    );
    client::run("denied.mjs", &server);
}
