//! An app version sees of `_changes` what its manifest's selector lets pass, and nothing else of the feed changes.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::io::Write;

use chesterfield::proxy::{Changes, Settings, Undeclared};
use serde_json::{Value, json};
use support::{Head, Running, SELECTOR, Scripted, Wire};

const V2: &str = "app-version: todo-app@2.0.0\r\n";

fn settings() -> Settings {
    Settings {
        changes: Changes::Selector,
        ..support::settings()
    }
}

/// A client, the proxy before a scripted upstream, and that upstream.
async fn todo() -> (Wire, Running, Scripted) {
    let upstream = Scripted::listen().await;
    let proxy = Running::with(settings(), &upstream.url()).await;
    (proxy.connect().await, proxy, upstream)
}

/// What reaches the upstream when a client of version 2 asks so, and the body parsed.
async fn forwarded(method: &str, target: &str, headers: &str, body: Option<&str>) -> (Head, Value) {
    let (mut client, _proxy, upstream) = todo().await;
    let headers = format!("{V2}{headers}");
    match body {
        Some(body) => client.ask_with(method, target, &headers, body).await,
        None => client.ask(method, target, &headers).await,
    }
    let (head, body) = upstream.accept().await.message().await;
    (head, serde_json::from_str(&body).unwrap_or(Value::Null))
}

/// What a client of version 2 is answered when no upstream is asked.
async fn refused(method: &str, target: &str, headers: &str, body: &str) -> (u16, Value) {
    let (mut client, _proxy, _upstream) = todo().await;
    client.ask_with(method, target, &format!("{V2}{headers}"), body).await;
    let (head, body) = client.message().await;
    assert_eq!(head.get("content-type"), Some("application/json"));
    (head.status(), serde_json::from_str(&body).unwrap())
}

fn selector() -> Value {
    serde_json::from_str(SELECTOR).unwrap()
}

#[tokio::test]
async fn a_get_becomes_a_post_with_the_selector() {
    let (head, body) = forwarded(
        "GET",
        "/todo/_changes?since=3-g%2B&descending=true&limit=2",
        "authorization: Basic x\r\naccept: a/b\r\n",
        None,
    )
    .await;
    assert_eq!(
        head.line,
        "POST /todo/_changes?since=3-g%2B&descending=true&limit=2&filter=_selector HTTP/1.1"
    );
    assert_eq!(head.get("content-type"), Some("application/json"));
    assert_eq!(head.get("authorization"), Some("Basic x"));
    assert_eq!(head.get("accept"), Some("a/b"));
    assert_eq!(head.get("app-version"), None);
    assert_eq!(body, json!({ "selector": selector() }));
}

#[tokio::test]
async fn couchdb_filters_without_a_limit() {
    let (head, _) = forwarded("GET", "/todo/_changes?limit=2", "", None).await;
    assert_eq!(
        head.line,
        "POST /todo/_changes?filter=_selector&limit=1000000000000000&seq_interval=1 HTTP/1.1"
    );
}

#[tokio::test]
async fn no_spelling_evades_the_selector() {
    for target in [
        "//todo/_changes",
        "/todo/%5Fchanges/",
        "/%74odo/_changes/foo/bar",
        "/todo//_changes?filter=",
        "http://todo.example/todo/_changes",
    ] {
        let (head, body) = forwarded("GET", target, "", None).await;
        assert!(
            head.line.starts_with("POST ") && head.line.contains("filter=_selector"),
            "{target}: {}",
            head.line
        );
        assert_eq!(body, json!({ "selector": selector() }), "{target}");
    }
    // CouchDB would take this POST for the GET it says it is, and its body for nothing.
    let (head, body) = forwarded(
        "POST",
        "/todo/_changes",
        "x-http-method-override: GET\r\n",
        Some("junk"),
    )
    .await;
    assert_eq!(head.get("x-http-method-override"), None);
    assert_eq!(body, json!({ "selector": selector() }));
    // Harmless on a GET, but it would undo the POST that the GET becomes.
    let (head, _) = forwarded("GET", "/todo/_changes", "x-http-method-override: GET\r\n", None).await;
    assert_eq!(head.get("x-http-method-override"), None);
}

#[tokio::test]
async fn a_selector_of_the_client_stays_in_force() {
    let posted = r#"{"fields":["a"], "selector":{"n":1e2}, "limit":1.0}"#;
    let (mut client, _proxy, upstream) = todo().await;
    client
        .ask_with("POST", "/todo/_changes?feed=longpoll&filter=_selector", V2, posted)
        .await;
    let (head, body) = upstream.accept().await.message().await;
    assert_eq!(
        head.line,
        "POST /todo/_changes?feed=longpoll&filter=_selector&filter=_selector HTTP/1.1"
    );
    let both = format!(r#"{{"fields":["a"],"limit":1.0,"selector":{{"$and":[{SELECTOR},{{"n":1e2}}]}}}}"#);
    assert_eq!(body, both);
}

#[tokio::test]
async fn what_is_posted_without_a_filter_is_no_filter() {
    // CouchDB ignores all of it; `fields` must not come into force with our filter.
    for posted in [r#"{"doc_ids":["a"],"selector":{"a":1},"fields":["a"]}"#, "{}", ""] {
        let (head, body) = forwarded("POST", "/todo/_changes?style=all_docs", "", Some(posted)).await;
        assert_eq!(
            head.line,
            "POST /todo/_changes?style=all_docs&filter=_selector HTTP/1.1"
        );
        assert_eq!(body, json!({ "selector": selector() }));
    }
}

#[tokio::test]
async fn a_compressed_body_is_read_too() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(br#"{"selector":{"n":1}}"#).unwrap();
    let packed = encoder.finish().unwrap();
    let (mut client, _proxy, upstream) = todo().await;
    let length = packed.len();
    let headers = format!(
        "{V2}content-type: application/json; charset=utf-8\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n"
    );
    client.ask("POST", "/todo/_changes?filter=_selector", &headers).await;
    client.send(&packed).await;
    let (head, body) = upstream.accept().await.message().await;
    assert_eq!(head.get("content-encoding"), None);
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        json!({ "selector": { "$and": [selector(), { "n": 1 }] } })
    );
}

#[tokio::test]
async fn bodies_that_are_wrong_are_refused_as_couchdb_does() {
    let post =
        |headers: &'static str, body: &'static str| refused("POST", "/todo/_changes?filter=_selector", headers, body);
    let bad_request = |reason: &str| (400, json!({ "error": "bad_request", "reason": reason }));
    assert_eq!(post("", "{").await, bad_request("invalid UTF-8 JSON"));
    assert_eq!(post("", "[]").await, bad_request("Request body must be a JSON object"));
    assert_eq!(
        post("", r#"{"selector":"x"}"#).await,
        bad_request("Selector error: expected a JSON object")
    );
    assert_eq!(
        post("", "{}").await,
        bad_request("Selector error: expected a JSON object")
    );
    assert_eq!(
        post("content-encoding: gzip\r\n", "x").await,
        bad_request("Request body is not properly gzipped.")
    );
    let bad_type = |reason: &str| (415, json!({ "error": "bad_content_type", "reason": reason }));
    assert_eq!(
        post("content-encoding: br\r\n", "x").await,
        bad_type("br is not a supported content encoding.")
    );
    let (mut client, _proxy, _upstream) = todo().await;
    client
        .ask(
            "POST",
            "/todo/_changes",
            &format!("{V2}content-type: text/plain\r\ncontent-length: 2\r\n"),
        )
        .await;
    client.send("{}").await;
    let (head, body) = client.message().await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((head.status(), body), bad_type("Content-Type must be application/json"));
}

#[tokio::test]
async fn a_filter_of_more_than_a_mebibyte_is_refused() {
    let (mut client, _proxy, _upstream) = todo().await;
    // The length alone decides: not a byte of it is awaited.
    let headers = format!("{V2}content-type: application/json\r\ncontent-length: 1048577\r\n");
    client.ask("POST", "/todo/_changes?filter=_selector", &headers).await;
    let (head, body) = client.message().await;
    assert_eq!(head.status(), 413);
    assert!(body.starts_with(r#"{"error":"too_large""#), "{body}");

    let (mut client, _proxy, _upstream) = todo().await;
    let headers = format!("{V2}content-type: application/json\r\ntransfer-encoding: chunked\r\n");
    client.ask("POST", "/todo/_changes?filter=_selector", &headers).await;
    client.send(format!("100001\r\n{}\r\n", " ".repeat(0x10_0001))).await;
    assert_eq!(client.head().await.status(), 413);
}

#[tokio::test]
async fn an_etag_holds_for_one_filter() {
    let (mut client, _proxy, upstream) = todo().await;
    client.ask("GET", "/todo/_changes", V2).await;
    let mut couch = upstream.accept().await;
    couch.message().await;
    couch.answer("200 OK", "etag: \"ABC\"\r\nvary: origin\r\n", "{}").await;
    let (answer, _) = client.message().await;
    let etag = answer.get("etag").unwrap().to_owned();
    assert!(
        etag.starts_with("\"ABC-") && etag.len() == "\"ABC-12345678\"".len(),
        "{etag}"
    );
    assert_eq!(answer.get("vary"), Some("origin, app-version"));

    // Its own comes back as CouchDB's, and the 304 as it was asked for.
    client
        .ask(
            "GET",
            "/todo/_changes",
            &format!("{V2}if-none-match: {etag}, \"ABC\"\r\n"),
        )
        .await;
    let (head, _) = couch.message().await;
    assert_eq!(head.get("if-none-match"), Some("\"ABC\""));
    couch.send("HTTP/1.1 304 Not Modified\r\netag: \"ABC\"\r\n\r\n").await;
    let answer = client.head().await;
    assert_eq!((answer.status(), answer.get("etag")), (304, Some(etag.as_str())));

    // One of the unfiltered feed, or of another filter, is none.
    client
        .ask_with(
            "POST",
            "/todo/_changes?filter=_selector",
            &format!("{V2}if-none-match: {etag}\r\n"),
            r#"{"selector":{"n":1}}"#,
        )
        .await;
    let (head, _) = couch.message().await;
    assert_eq!(head.get("if-none-match"), None);
    couch.answer("200 OK", "etag: \"ABC\"\r\n", "{}").await;
    assert_ne!(client.message().await.0.get("etag").unwrap(), etag);
}

#[tokio::test]
async fn a_head_stays_a_head() {
    let (mut client, _proxy, upstream) = todo().await;
    client.ask("HEAD", "/todo/_changes", V2).await;
    let mut couch = upstream.accept().await;
    assert_eq!(couch.head().await.line, "HEAD /todo/_changes HTTP/1.1");
    couch
        .send("HTTP/1.1 200 OK\r\netag: \"ABC\"\r\ncontent-length: 17\r\n\r\n")
        .await;
    let answer = client.head().await;
    assert!(answer.get("etag").unwrap().starts_with("\"ABC-"));
    assert_eq!(answer.get("content-length"), Some("17"));
}

#[tokio::test]
async fn what_is_unaffected_passes_untouched() {
    let untouched = "GET /todo/_changes?filter=app/kind HTTP/1.1";
    for (target, headers) in [
        // Undeclared; a version that sees everything; a database that is not configured; no database at all.
        ("/todo/_changes?filter=app/kind", ""),
        ("/todo/_changes?filter=app/kind", "app-version: todo-app@1.0.0\r\n"),
        ("/other/_changes?filter=app/kind", V2),
        ("/_db_updates?filter=app/kind", "app-version: nonsense\r\n"),
    ] {
        let (mut client, _proxy, upstream) = todo().await;
        client
            .ask("GET", target, &format!("{headers}if-none-match: \"x\"\r\n"))
            .await;
        let mut couch = upstream.accept().await;
        let head = couch.head().await;
        assert_eq!(head.line, untouched.replace("/todo/_changes?filter=app/kind", target));
        assert_eq!(head.get("if-none-match"), Some("\"x\""));
        assert_eq!(head.get("app-version"), None, "{target}");
        couch
            .answer("404 Object Not Found", "etag: \"x\"\r\n", "{\"error\":\"not_found\"}\n")
            .await;
        let (answer, body) = client.message().await;
        assert_eq!(
            (answer.status(), answer.get("etag"), body.as_str()),
            (404, Some("\"x\""), "{\"error\":\"not_found\"}\n")
        );
        assert_eq!(answer.get("vary").is_some(), target.starts_with("/todo"), "{target}");
    }
}

#[tokio::test]
async fn errors_of_couchdb_go_through_unchanged() {
    let (mut client, _proxy, upstream) = todo().await;
    client.ask("GET", "/todo/_changes?since=x", V2).await;
    let mut couch = upstream.accept().await;
    for status in ["400 Bad Request", "401 Unauthorized", "404 Object Not Found"] {
        couch.message().await;
        couch.answer(status, "", "{\"error\":\"e\",\"reason\":\"r\"}\n").await;
        let (answer, body) = client.message().await;
        assert_eq!(answer.line, format!("HTTP/1.1 {status}"));
        assert_eq!(body, "{\"error\":\"e\",\"reason\":\"r\"}\n");
        client.ask("GET", "/todo/_changes?since=x", V2).await;
    }
}

#[tokio::test]
async fn wrong_versions_are_told_what_is_known() {
    for (headers, says) in [
        ("app-version: todo-app@9.0.0\r\n", "no major version 9"),
        ("app-version: blog@1.0.0\r\n", "no app `blog`"),
        ("app-version: two\r\n", "no app version"),
        ("app-version: todo-app@1.0.0\r\napp-version: todo-app@2.0.0\r\n", "once"),
    ] {
        let (mut client, _proxy, _upstream) = todo().await;
        client.ask("GET", "/todo/doc", headers).await;
        let (head, body) = client.message().await;
        assert_eq!(head.status(), 400, "{headers}");
        assert_eq!(head.get("vary"), Some("app-version"));
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["error"], "bad_request");
        let reason = body["reason"].as_str().unwrap();
        assert!(reason.contains(says), "{reason}");
        assert!(
            reason.contains("todo-app@1.0.0, todo-app@2.0.0") || says == "once",
            "{reason}"
        );
    }
    // The same value twice is no contradiction; a bare version will do where there is one app.
    let (head, _) = forwarded("GET", "/todo/doc", V2, None).await;
    assert_eq!(head.line, "GET /todo/doc HTTP/1.1");
    let (mut client, _proxy, upstream) = todo().await;
    client.ask("GET", "/todo/_changes", "app-version: 2.7.1\r\n").await;
    assert!(upstream.accept().await.head().await.line.starts_with("POST"));
}

#[tokio::test]
async fn undeclared_clients_may_be_refused_or_taken_for_a_version() {
    let upstream = Scripted::listen().await;
    let reject = Settings {
        undeclared: Undeclared::Reject,
        ..settings()
    };
    let proxy = Running::with(reject, &upstream.url()).await;
    let mut client = proxy.connect().await;
    client.ask("GET", "/todo/doc", "").await;
    let (head, body) = client.message().await;
    assert_eq!(head.status(), 400);
    assert!(
        body.contains("app-version is missing; known are: todo-app@1.0.0"),
        "{body}"
    );
    client.ask("GET", "/_up", "").await;
    assert_eq!(upstream.accept().await.head().await.line, "GET /_up HTTP/1.1");

    let default = Undeclared::Default("todo-app@2.5.0".parse().unwrap());
    let proxy = Running::with(
        Settings {
            undeclared: default,
            ..settings()
        },
        &upstream.url(),
    )
    .await;
    let mut client = proxy.connect().await;
    client.ask("GET", "/todo/_changes", "").await;
    assert!(upstream.accept().await.head().await.line.starts_with("POST"));
}
