//! Scoped reads as they go over the wire: what is asked upstream, and that nothing is asked, held or told beyond what is needed.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use chesterfield::{
    proxy::{Databases, Settings},
    schema::Scope,
};
use support::{Running, Scripted, Wire, scoped_todo_apps, soon};
use tokio::io::AsyncReadExt;

const V1: &str = "app-version: todo-app@1.0.0\r\n";
const VIEW: &str = "/todo/_design/d/_view/v";

async fn scoped() -> (Wire, Running, Scripted) {
    let upstream = Scripted::listen().await;
    let settings = Settings {
        databases: Databases::new(["todo"]).unwrap(),
        apps: scoped_todo_apps(Scope::Exact),
        ..Settings::default()
    };
    let proxy = Running::with(settings, &upstream.url()).await;
    (proxy.connect().await, proxy, upstream)
}

fn row(key: &str, version: u64) -> String {
    format!("{{\"id\":\"todo-item:{key}:v:{version}\",\"key\":\"{key}\",\"value\":null}}")
}

#[tokio::test]
async fn a_page_that_is_full_asks_for_no_more() {
    let (mut client, _proxy, upstream) = scoped().await;
    client
        .ask(
            "GET",
            &format!("{VIEW}?limit=2&skip=1"),
            &format!("{V1}accept-encoding: gzip\r\n"),
        )
        .await;
    let mut couch = upstream.accept().await;
    let head = couch.head().await;
    assert_eq!(
        head.line,
        format!("GET {VIEW}?skip=0&limit=576460752303423487 HTTP/1.1")
    );
    // What is to be looked into has to come in plain.
    assert_eq!(head.get("accept-encoding"), None);
    couch
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let mut chunk = async |text: &str| couch.send(format!("{:x}\r\n{text}\r\n", text.len())).await;
    chunk("{\"total_rows\":900,\"offset\":0,\"rows\":[\r\n").await;
    for (n, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
        let comma = if n == 0 { "" } else { ",\r\n" };
        chunk(&format!("{comma}{},\r\n{}", row(key, 2), row(key, 1))).await;
    }
    let (head, body) = client.message().await;
    assert_eq!((head.status(), head.get("vary")), (200, Some("app-version")));
    let expected = format!(
        "{{\"total_rows\":900,\"offset\":1,\"rows\":[\r\n{},\r\n{}\r\n]}}\n",
        row("b", 1),
        row("c", 1)
    );
    assert_eq!(body, expected);
    // Although the listing has not ended.
    couch.closed().await;
}

#[tokio::test]
async fn a_listing_that_ends_leaves_its_connection_to_the_next() {
    let (mut client, _proxy, upstream) = scoped().await;
    client.ask("GET", VIEW, V1).await;
    let mut couch = upstream.accept().await;
    for _ in 0..2 {
        couch.head().await;
        let listing = format!("{{\"rows\":[\r\n{},\r\n{}\r\n]}}\n", row("a", 1), row("a", 2));
        couch.answer("200 OK", "etag: \"E\"\r\n", &listing).await;
        let (head, body) = client.message().await;
        assert_eq!(body, format!("{{\"rows\":[\r\n{}\r\n]}}\n", row("a", 1)));
        // Of the whole index, so nobody else's who is shown other rows.
        let etag = head.get("etag").unwrap().to_owned();
        assert!(etag.starts_with("\"E-") && etag.len() == 12, "{etag}");
        client.ask("GET", VIEW, &format!("{V1}if-none-match: {etag}\r\n")).await;
    }
    assert_eq!(couch.head().await.get("if-none-match"), Some("\"E\""));
    couch.answer("304 Not Modified", "etag: \"E\"\r\n", "").await;
    assert_eq!(client.head().await.status(), 304);
}

#[tokio::test]
async fn a_listing_that_breaks_off_is_not_ended_for_it() {
    let (mut client, _proxy, upstream) = scoped().await;
    client.ask("GET", VIEW, V1).await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    let listing = format!("{{\"total_rows\":2,\"offset\":0,\"rows\":[\r\n{}", row("a", 1));
    couch.answer("200 OK", "", &listing).await;
    let mut came = String::new();
    soon(client.stream.read_to_string(&mut came)).await.unwrap();
    assert!(!came.contains("]}") && !came.ends_with("0\r\n\r\n"), "{came}");
}

#[tokio::test]
async fn what_is_no_listing_is_not_shown() {
    for body in ["<html>", "{\"docs\":[]}", "[]", ""] {
        let (mut client, _proxy, upstream) = scoped().await;
        client.ask("GET", VIEW, V1).await;
        let mut couch = upstream.accept().await;
        couch.head().await;
        couch.answer("200 OK", "", body).await;
        let (head, said) = client.message().await;
        assert_eq!(
            (head.status(), said.contains("bad_gateway")),
            (502, true),
            "{body} {said}"
        );
    }
}

#[tokio::test]
async fn a_refusal_is_passed_on() {
    let (mut client, _proxy, upstream) = scoped().await;
    client.ask("GET", "/todo/_all_docs", V1).await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    // Nothing is counted for who may not read: failed logins lock a name.
    couch
        .answer("401 Unauthorized", "", "{\"error\":\"unauthorized\"}\n")
        .await;
    let (head, body) = client.message().await;
    assert_eq!((head.status(), body.as_str()), (401, "{\"error\":\"unauthorized\"}\n"));
}

#[tokio::test]
async fn no_spelling_evades_the_scope() {
    for target in [
        "//todo/%5Fall_docs/",
        "/%74odo/_partition/p/_all_docs",
        "http://todo.example/todo/_design%2Fd/_view/v",
        "/todo/_design/d/_view/v/",
    ] {
        let (mut client, _proxy, upstream) = scoped().await;
        client.ask("GET", &format!("{target}?limit=1"), V1).await;
        let line = upstream.accept().await.head().await.line;
        let is_attachment = target.contains("_design%2F");
        assert_eq!(
            line.contains("limit=576460752303423487"),
            !is_attachment,
            "{target}: {line}"
        );
    }
}
