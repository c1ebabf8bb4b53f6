//! Jobs of replication are restricted to what their app is to see, wherever and however they are given; nothing else is changed.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::{io::Write, time::Duration};

use chesterfield::{
    proxy::{Databases, Settings, Undeclared},
    upstream::{self, Timeouts, Upstream, UpstreamService, embedded::Embedded},
};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use support::{Head, Running, SELECTOR, Scripted, Wire, settings};

const V1: &str = "app-version: todo-app@1.0.0\r\n";
const V2: &str = "app-version: todo-app@2.0.0\r\n";

/// A pull by a phone, with spaces nobody else would write.
const PULL: &str = r#"{ "source":"todo", "n":1.0, "target":"http://phone/todo" }"#;
/// What becomes of it in version 2.
fn restricted() -> String {
    format!(r#"{{"source":"todo","n":1.0,"target":"http://phone/todo","selector":{SELECTOR}}}"#)
}

/// JSON, if they say nothing else.
fn head_of(headers: &str, length: usize) -> String {
    let json = if headers.contains("content-type") {
        ""
    } else {
        "content-type: application/json\r\n"
    };
    format!("{json}content-length: {length}\r\n{headers}")
}

/// What reaches the upstream of a request, under these settings.
async fn forwarded_with(settings: Settings, method: &str, target: &str, headers: &str, body: &[u8]) -> (Head, Vec<u8>) {
    let upstream = Scripted::listen().await;
    let proxy = Running::with(settings, &upstream.url()).await;
    let mut client = proxy.connect().await;
    let head = head_of(headers, body.len());
    client.ask(method, target, &head).await;
    client.send(body).await;
    let mut wire = upstream.accept().await;
    let head = wire.head().await;
    let body = match head.get("content-length") {
        Some(length) => wire.exactly(length.parse().unwrap()).await,
        None => Vec::new(),
    };
    (head, body)
}

async fn forwarded(method: &str, target: &str, headers: &str, body: &str) -> (Head, String) {
    let (head, body) = forwarded_with(settings(), method, target, headers, body.as_bytes()).await;
    (head, String::from_utf8(body).unwrap())
}

/// What a client of version 2 is answered when no upstream is asked.
async fn refused(method: &str, target: &str, headers: &str, body: &str) -> (u16, String) {
    let upstream = Scripted::listen().await;
    let proxy = Running::with(settings(), &upstream.url()).await;
    let mut client = proxy.connect().await;
    let head = head_of(&format!("{V2}{headers}"), body.len());
    client.ask(method, target, &head).await;
    client.send(body).await;
    let (head, body) = client.message().await;
    let said: Value = serde_json::from_str(&body).unwrap();
    (
        head.status(),
        format!(
            "{}: {}",
            said["error"].as_str().unwrap(),
            said["reason"].as_str().unwrap()
        ),
    )
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_job_is_restricted_wherever_it_is_given() {
    for (method, target, headers) in [
        ("POST", "/_replicate", ""),
        ("POST", "//%5Freplicate/", ""),
        ("PUT", "/_replicator/a", ""),
        ("PUT", "/_replicator/a?batch=ok&new_edits=false", ""),
        ("PUT", "/mine%2F_replicator/a", "content-type: text/plain\r\n"),
        ("POST", "/_replicator", ""),
        ("POST", "/_replicator/a", "x-http-method-override: PUT\r\n"),
    ] {
        let (head, body) = forwarded(
            method,
            target,
            &format!("{V2}authorization: Basic x\r\n{headers}"),
            PULL,
        )
        .await;
        assert_eq!(head.line, format!("{method} {target} HTTP/1.1"));
        assert_eq!(head.get("authorization"), Some("Basic x"));
        assert_eq!(head.get("app-version"), None);
        assert_eq!(body, restricted(), "{method} {target}");
    }
}

#[tokio::test]
async fn every_job_of_many_is_restricted() {
    let posted = format!(
        r#"{{"new_edits": false, "docs":[{PULL},{{"_id":"b","_deleted":true,"source":"todo"}},{{"_id":"_design/c","source":"todo"}},7,{PULL}]}}"#
    );
    let (_, body) = forwarded("POST", "/_replicator/_bulk_docs", V2, &posted).await;
    let rest = r#"{"_id":"b","_deleted":true,"source":"todo"},{"_id":"_design/c","source":"todo"},7"#;
    let job = restricted();
    assert_eq!(body, format!(r#"{{"new_edits":false,"docs":[{job},{rest},{job}]}}"#));
}

#[tokio::test]
async fn what_needs_no_change_is_sent_as_it_came() {
    let push = r#"{ "source":"http://phone/todo", "target":"todo", "filter":"a/b" }"#;
    let cancel = r#"{ "cancel":true, "_local_id":"x+continuous" }"#;
    let function = r#"{ "source":"todo", "target":"http://phone/todo", "filter":"a/b" }"#;
    for (method, target, headers, body) in [
        // Who declares nothing, or sees everything.
        ("POST", "/_replicate", "", function),
        ("POST", "/_replicate", "", "junk"),
        (
            "PUT",
            "/_replicator/a",
            "content-type: multipart/related; boundary=x\r\n",
            "junk",
        ),
        ("POST", "/_replicator/_bulk_docs", V1, function),
        ("COPY", "/_replicator/a", V1, ""),
        // A push, and a job that is found by its id.
        ("POST", "/_replicate", V2, push),
        ("POST", "/_replicator", V2, push),
        ("POST", "/_replicate", V2, cancel),
        // No jobs.
        ("PUT", "/_replicator/a", V2, r#"{ "_deleted":true, "source":"todo" }"#),
        ("DELETE", "/_replicator/a?rev=1-a", V2, ""),
        ("PUT", "/_replicator/_design/a", V2, PULL),
        ("PUT", "/_replicator/a/file", V2, PULL),
        ("POST", "/_replicator/_find", V2, PULL),
        ("PUT", "/_replicate", V2, PULL),
        ("POST", "/_users/_bulk_docs", V2, PULL),
        // CouchDB refuses these itself.
        ("POST", "/_replicate", V2, "[1]"),
        ("POST", "/_replicate", V2, ""),
        ("POST", "/_replicator/_bulk_docs", V2, r#"{ "docs":{} }"#),
    ] {
        let (head, sent) = forwarded(method, target, headers, body).await;
        assert_eq!(head.line, format!("{method} {target} HTTP/1.1"));
        assert_eq!(sent, body, "{method} {target}");
    }
}

#[tokio::test]
async fn a_compressed_job_is_restricted_too() {
    let headers = format!("{V2}content-encoding: gzip\r\n");
    let (head, body) = forwarded_with(settings(), "PUT", "/_replicator/a", &headers, &gzip(PULL)).await;
    assert_eq!(head.get("content-encoding"), None);
    assert_eq!(body, restricted().as_bytes());
    let whole = gzip(r#"{"source":"http://phone/todo","target":"todo"}"#);
    let (head, body) = forwarded_with(settings(), "PUT", "/_replicator/a", &headers, &whole).await;
    assert_eq!(head.get("content-encoding"), Some("gzip"));
    assert_eq!(body, whole);
}

#[tokio::test]
async fn who_declares_nothing_may_be_taken_for_a_version() {
    let two = || Undeclared::Default("todo-app@2.0.0".parse().unwrap());
    let everywhere = Settings {
        undeclared: two(),
        ..settings()
    };
    let in_this_database = Settings {
        undeclared_in: vec![(Databases::new(["todo"]).unwrap(), two())],
        ..settings()
    };
    for settings in [everywhere, in_this_database] {
        for (method, target) in [("POST", "/_replicate"), ("PUT", "/_replicator/a")] {
            let (_, body) = forwarded_with(settings.clone(), method, target, "", PULL.as_bytes()).await;
            assert_eq!(body, restricted().as_bytes());
        }
    }
}

#[tokio::test]
async fn the_source_says_what_is_made_of_who_declares_nothing() {
    let databases = |pattern| Databases::new([pattern]).unwrap();
    let settings = Settings {
        databases: databases("todo*"),
        undeclared_in: vec![(
            databases("todo"),
            Undeclared::Default("todo-app@2.0.0".parse().unwrap()),
        )],
        ..settings()
    };
    let (_, body) = forwarded_with(settings.clone(), "POST", "/_replicate", "", PULL.as_bytes()).await;
    assert_eq!(body, restricted().as_bytes());
    let other = PULL.replace("\"todo\"", "\"todo2\"");
    let (_, body) = forwarded_with(settings, "POST", "/_replicate", "", other.as_bytes()).await;
    assert_eq!(body, other.as_bytes());
}

#[tokio::test]
async fn cancelling_asks_for_the_job_that_was_started() {
    let job = r#"{"source":"todo","target":"http://phone/todo","continuous":true}"#;
    let started = forwarded("POST", "/_replicate", V2, job).await.1;
    let cancel = job.replace('}', r#","cancel":true}"#);
    let cancelled = forwarded("POST", "/_replicate", V2, &cancel).await.1;
    assert_eq!(
        cancelled,
        started.replace(r#","selector""#, r#","cancel":true,"selector""#)
    );
    // A stored job that says so is run (measured on 3.5.0), so it is restricted as others are.
    let function = cancel.replace('}', r#","filter":"a/b"}"#);
    assert_eq!(forwarded("POST", "/_replicate", V2, &function).await.1, function);
    assert_eq!(refused("PUT", "/_replicator/a", "", &function).await.0, 400);
    let elsewhere = r#"{"source":"http://a/todo","target":"http://b/todo","cancel":true}"#;
    assert_eq!(forwarded("POST", "/_replicate", V2, elsewhere).await.1, elsewhere);
}

#[tokio::test]
async fn what_cannot_be_restricted_is_refused() {
    let function = r#"{"_id":"backup","source":"todo","target":"http://phone/todo","filter":"a/b"}"#;
    let bulk = format!(r#"{{"docs":[{PULL},{function}]}}"#);
    for (method, target, headers, body, said) in [
        (
            "POST",
            "/_replicate",
            "",
            r#"{"source":"todo","filter":"a/b"}"#,
            "bad_request: filter=a/b cannot be combined with what todo-app@2.0.0 is to see of todo; ",
        ),
        (
            "POST",
            "/_replicator",
            "",
            function,
            "bad_request: `backup`: filter=a/b cannot ",
        ),
        (
            "POST",
            "/_replicator/_bulk_docs",
            "",
            &bulk,
            "bad_request: `backup`: filter=a/b cannot ",
        ),
        (
            "PUT",
            "/_replicator/a",
            "",
            r#"{"source":"http://a/todo","target":"http://b/todo"}"#,
            "bad_request: neither end ",
        ),
        (
            "COPY",
            "/_replicator/a",
            "destination: b\r\n",
            "",
            "bad_request: COPY may write a job that todo-app@2.0.0 is to see less of; ",
        ),
        (
            "PUT",
            "/_replicator/a",
            "content-type: multipart/related; boundary=x\r\n",
            "",
            "bad_request: multipart may ",
        ),
        (
            "POST",
            "/_replicator/a",
            "content-type: Multipart/Form-Data; boundary=x\r\n",
            "",
            "bad_request: multipart may ",
        ),
        (
            "POST",
            "/_replicator/_design/a/_update/b",
            "",
            "{}",
            "bad_request: _update may ",
        ),
        ("POST", "/_replicate", "", "{", "bad_request: invalid UTF-8 JSON"),
        (
            "PUT",
            "/_replicator/a",
            "",
            "{\"source\":\"todo\",}",
            "bad_request: invalid UTF-8 JSON",
        ),
        (
            "PUT",
            "/_replicator/a",
            "content-encoding: gzip\r\n",
            "{}",
            "bad_request: Request body is not properly gzipped.",
        ),
    ] {
        let (status, reason) = refused(method, target, headers, body).await;
        assert_eq!(status, 400, "{method} {target}");
        assert!(reason.starts_with(said), "{method} {target}: {reason}");
    }
}

#[tokio::test]
async fn more_than_a_mebibyte_is_refused() {
    // Replicators halve what they send at once.
    let upstream = Scripted::listen().await;
    let proxy = Running::with(settings(), &upstream.url()).await;
    let mut client = proxy.connect().await;
    let headers = format!("{V2}content-type: application/json\r\ncontent-length: 1048577\r\n");
    client.ask("POST", "/_replicator/_bulk_docs", &headers).await;
    assert_eq!(client.message().await.0.status(), 413);
}

#[tokio::test]
async fn a_job_may_run_for_hours() {
    let upstream = Scripted::listen().await;
    let timeouts = Timeouts {
        idle: Duration::from_millis(50),
        ..Timeouts::default()
    };
    let proxy = Running::start(settings(), upstream::http(&upstream.url(), timeouts).unwrap()).await;
    for headers in ["", V2] {
        let mut giver = proxy.connect().await;
        giver.ask_with("POST", "/_replicate", headers, PULL).await;
        let mut job = upstream.accept().await;
        job.message().await;
        // By the time that another request is given up, the job has taken as long.
        let mut other = proxy.connect().await;
        other.ask("GET", "/todo/doc", headers).await;
        let _unanswered = upstream.accept().await;
        assert_eq!(other.message().await.0.status(), 504);
        job.answer("200 OK", "", "{}").await;
        assert_eq!(giver.message().await.0.status(), 200);
    }
}

/// The embedded store runs no jobs, but it keeps them.
async fn embedded() -> (Wire, Running) {
    let upstream = Upstream {
        service: UpstreamService::new(Embedded::memory()),
        account: None,
        name: "embedded".into(),
    };
    let proxy = Running::start(settings(), upstream).await;
    let mut client = proxy.connect().await;
    client.ask("PUT", "/mine%2F_replicator", "content-length: 0\r\n").await;
    assert_eq!(client.message().await.0.status(), 201);
    (client, proxy)
}

async fn put(client: &mut Wire, version: &str, job: &Value) -> Value {
    client
        .ask_with("PUT", "/mine%2F_replicator/pull", version, &job.to_string())
        .await;
    let (head, body) = client.message().await;
    assert_eq!(head.status(), 201, "{body}");
    client.ask("GET", "/mine%2F_replicator/pull", version).await;
    serde_json::from_str(&client.message().await.1).unwrap()
}

#[tokio::test]
async fn what_is_stored_is_read_back_and_can_be_written_back() {
    let (mut client, _proxy) = embedded().await;
    let selector: Value = serde_json::from_str(SELECTOR).unwrap();
    let source = "http://todo.example/todo";
    let job = json!({ "source": source, "target": "http://phone/todo", "selector": { "n": 1 } });
    let mut read = put(&mut client, V2, &job).await;
    let both = json!({ "$and": [selector, { "n": 1 }] });
    assert_eq!(read["selector"], both);
    read["continuous"] = json!(true);
    let mut read = put(&mut client, V2, &read).await;
    assert_eq!((&read["selector"], &read["continuous"]), (&both, &json!(true)));
    assert_eq!(read["_rev"].as_str().unwrap().split('-').next(), Some("2"));
    // The client's own, as it was, for a version that sees everything.
    read = put(&mut client, V1, &read).await;
    assert_eq!(read["selector"], json!({ "n": 1 }));
    // Stored by a version that sees everything, it is restricted when another takes it over.
    assert_eq!(put(&mut client, V2, &read).await["selector"], both);
}
