//! How requests and connections end: by their client, by a silent upstream, by a server that stops.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::{sync::Arc, time::Duration};

use chesterfield::{
    proxy::{self, Answer, Call, Settings, Writes},
    upstream::{self, Timeouts},
};
use futures_util::future::BoxFuture;
use support::{Running, Scripted, settings, soon};
use tokio::net::TcpStream;

const SHORT: Duration = Duration::from_millis(50);

/// A proxy that is patient with its upstream for a moment only.
async fn impatient(upstream: &Scripted) -> Running {
    let timeouts = Timeouts {
        idle: SHORT,
        ..Timeouts::default()
    };
    Running::start(settings(), upstream::http(&upstream.url(), timeouts).unwrap()).await
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_along() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    // While it waits for the head of the answer,
    let mut client = proxy.connect().await;
    client.ask("GET", "/db/_changes?feed=longpoll", "").await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    drop(client);
    couch.closed().await;
    // in the middle of its body,
    let mut client = proxy.connect().await;
    client.ask("GET", "/db/doc", "").await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    couch.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    client.head().await;
    drop(client);
    couch.closed().await;
    // or while a feed is silent.
    let mut client = proxy.connect().await;
    client.ask("GET", "/db/_changes?feed=continuous", "").await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    couch
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n\n\r\n")
        .await;
    client.head().await;
    drop(client);
    couch.closed().await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_not_taken_for_whole() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut client = proxy.connect().await;
    client.ask("PUT", "/db/doc", "transfer-encoding: chunked\r\n").await;
    client.send("3\r\nabc\r\n").await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    assert_eq!(couch.chunk().await, b"abc");
    drop(client);
    couch.closed().await;
    assert_eq!(couch.rest(), b"", "no last chunk may come");
}

#[tokio::test]
async fn a_silent_upstream_is_a_gateway_timeout() {
    let upstream = Scripted::listen().await;
    let proxy = impatient(&upstream).await;
    let mut client = proxy.connect().await;
    client.ask("GET", "/db/doc", "").await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    let (answer, body) = client.message().await;
    assert_eq!(answer.status(), 504);
    assert_eq!(
        body,
        "{\"error\":\"gateway_timeout\",\"reason\":\"the upstream did not answer in time\"}\n"
    );
    couch.closed().await;
}

#[tokio::test]
async fn an_answer_that_falls_silent_is_cut() {
    let upstream = Scripted::listen().await;
    let proxy = impatient(&upstream).await;
    let mut client = proxy.connect().await;
    client.ask("GET", "/db/_changes?feed=normal", "").await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    couch.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    client.head().await;
    client.closed().await;
    couch.closed().await;
}

#[tokio::test]
async fn a_live_feed_may_be_silent() {
    let upstream = Scripted::listen().await;
    let proxy = impatient(&upstream).await;
    for feed in [
        "db/_changes?feed=continuous",
        "db/_changes?feed=normal;Feed=longpoll",
        "db/%5Fchanges?feed=eventsource",
        "_db_updates?feed=continuous",
    ] {
        let mut reader = proxy.connect().await;
        reader.ask("GET", &format!("/{feed}"), "").await;
        let mut couch = upstream.accept().await;
        couch.head().await;
        // Another request, begun later, has timed out: so the feed has been silent for longer,
        outlast(&proxy, &upstream).await;
        couch
            .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n\n\r\n")
            .await;
        assert_eq!(reader.head().await.status(), 200, "{feed}");
        assert_eq!(reader.chunk().await, b"\n");
        // before its head and after it.
        outlast(&proxy, &upstream).await;
        couch.send("2\r\n{}\r\n").await;
        assert_eq!(reader.chunk().await, b"{}");
    }
}

/// Lets the idle timeout pass.
async fn outlast(proxy: &Running, upstream: &Scripted) {
    let mut client = proxy.connect().await;
    client.ask("GET", "/db/doc", "").await;
    let _couch = upstream.accept().await;
    assert_eq!(client.head().await.status(), 504);
}

#[tokio::test]
async fn a_feed_of_events_does_not_share_its_connection() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut client = proxy.connect().await;
    client.ask("GET", "/db/_changes?feed=eventsource", "").await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    // As CouchDB ends an eventsource feed without rows.
    couch
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n\n\r\n0\r\n\r\n1\r\n\n\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.message().await.1, "\n");
    client.ask("GET", "/db/doc", "").await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    couch.answer("200 OK", "", "{}").await;
    assert_eq!(client.message().await.0.status(), 200);
}

#[tokio::test]
async fn who_never_finishes_a_request_is_dropped() {
    let upstream = Scripted::listen().await;
    let timeouts = proxy::Timeouts {
        head: SHORT,
        ..proxy::Timeouts::default()
    };
    let proxy = Running::with(Settings { timeouts, ..settings() }, &upstream.url()).await;
    // Nothing at all; what may yet become HTTP/2; half a head; HTTP/2 without a request.
    for begun in [
        "",
        "P",
        "GET / HTTP/1.1\r\nhost: x\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ] {
        let mut client = proxy.connect().await;
        client.send(begun).await;
        client.closed().await;
    }
    // One that has asked once is no longer such a client, however long its answer takes.
    let mut client = proxy.connect().await;
    client.ask("GET", "/db/doc", "").await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    let mut other = proxy.connect().await;
    other.closed().await;
    couch.answer("200 OK", "", "{}").await;
    assert_eq!(client.message().await.1, "{}");
}

#[tokio::test]
async fn a_server_that_stops_ends_what_it_has_begun() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut idle = proxy.connect().await;
    idle.ask("GET", "/db/a", "").await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    couch.answer("200 OK", "", "{}").await;
    idle.message().await;
    let mut busy = proxy.connect().await;
    busy.ask("GET", "/db/b", "").await;
    couch.head().await;

    proxy.stop.cancel();
    idle.closed().await;
    let address = proxy.address;
    couch.answer("200 OK", "", "late").await;
    let (answer, body) = busy.message().await;
    assert_eq!((answer.get("connection"), body.as_str()), (Some("close"), "late"));
    busy.closed().await;
    proxy.ended().await;
    assert!(soon(TcpStream::connect(address)).await.is_err());
}

#[tokio::test]
async fn a_server_that_stops_cuts_feeds_at_once() {
    let upstream = Scripted::listen().await;
    for feed in [
        "/todo/_changes?feed=longpoll",
        "/todo/_changes?feed=continuous",
        "/todo/_changes?feed=eventsource",
        "/_db_updates?feed=continuous",
    ] {
        // It would wait for longer than the test does.
        let proxy = Running::before(&upstream).await;
        let mut reader = proxy.connect().await;
        reader.ask("GET", feed, "").await;
        let mut couch = upstream.accept().await;
        couch.head().await;
        couch
            .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n")
            .await;
        reader.head().await;
        assert_eq!(reader.chunk().await, b"{}", "{feed}");
        proxy.stop.cancel();
        reader.closed().await;
        assert_eq!(reader.rest(), b"", "{feed}: no last chunk may come");
        couch.closed().await;
        proxy.ended().await;
    }
}

#[tokio::test]
async fn a_server_that_stops_cuts_what_is_still_open_in_the_end() {
    let upstream = Scripted::listen().await;
    let timeouts = proxy::Timeouts {
        drain: SHORT,
        ..proxy::Timeouts::default()
    };
    let proxy = Running::with(Settings { timeouts, ..settings() }, &upstream.url()).await;
    let mut reader = proxy.connect().await;
    reader.ask("GET", "/db/_all_docs", "").await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    couch
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n\n\r\n")
        .await;
    reader.head().await;
    proxy.stop.cancel();
    proxy.ended().await;
    reader.closed().await;
    couch.closed().await;
}

/// Answers every write with what it was taken for.
struct Named;

impl Writes for Named {
    fn forward(&self, call: Call) -> BoxFuture<'_, Answer> {
        let named = format!("{} {:?}", call.method, call.route);
        Box::pin(async move { Ok(http::Response::new(upstream::body::full(named))) })
    }
}

#[tokio::test]
async fn writes_are_found_however_they_are_spelt() {
    let upstream = Scripted::listen().await;
    let service = upstream::http(&upstream.url(), Timeouts::default()).unwrap();
    let proxy = Running::start_with(settings(), service, Arc::new(Named)).await;
    let a = r#"Document { db: "todo", id: "a" }"#;
    let a = |method: &str| format!("{method} {a}");
    for (method, target, headers, taken) in [
        ("PUT", "/todo/a", "", a("PUT")),
        ("PUT", "//%74odo//%61/?new_edits=false", "", a("PUT")),
        ("PUT", "http://todo.example/todo/a", "", a("PUT")),
        ("POST", "/todo/a", "x-http-method-override: PUT\r\n", a("PUT")),
        ("DELETE", "/todo/a?rev=1-a", "", a("DELETE")),
        ("COPY", "/todo/a", "destination: b\r\n", a("COPY")),
        ("POST", "/todo/", "", r#"POST PostDocument { db: "todo" }"#.into()),
        (
            "POST",
            "/todo/%5Fbulk_docs",
            "",
            r#"POST BulkDocs { db: "todo" }"#.into(),
        ),
        (
            "PUT",
            "/todo/a+b/f.txt",
            "",
            r#"PUT Attachment { db: "todo", id: "a b" }"#.into(),
        ),
        (
            "PUT",
            "/todo/_design/x/_update/f/a",
            "",
            r#"PUT UpdateHandler { db: "todo", id: Some("a") }"#.into(),
        ),
    ] {
        let mut client = proxy.connect().await;
        client.ask(method, target, headers).await;
        assert_eq!(client.message().await.1, taken, "{method} {target}");
    }
    for (method, target) in [
        ("GET", "/todo/a"),
        ("POST", "/todo/_bulk_get"),
        ("PUT", "/todo/_local/x"),
        ("PUT", "/todo/_design/x"),
        ("PUT", "/other/a"),
        ("PUT", "/todo"),
        ("POST", "/_session"),
    ] {
        let mut client = proxy.connect().await;
        client.ask(method, target, "").await;
        assert_eq!(
            upstream.accept().await.head().await.line,
            format!("{method} {target} HTTP/1.1")
        );
    }
}
