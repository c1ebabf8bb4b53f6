//! What browsers are told, so that web apps of other origins can use the proxy.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::collections::HashSet;

use chesterfield::{
    proxy::{Cors, Origins, Settings, Undeclared},
    upstream::{Upstream, UpstreamService, embedded::Embedded},
};
use support::{Head, Running, Scripted, settings};

const APP: &str = "https://app.example";
const ORIGIN: &str = "origin: https://app.example\r\n";

/// What CouchDB 3.5 adds to an answer where its own CORS is on (transcripts, security 142).
const COUCHDB: &str = "access-control-allow-origin: https://app.example\r\naccess-control-allow-credentials: true\r\n\
    access-control-expose-headers: content-type, cache-control, accept-ranges, etag, server, x-couch-request-id, \
    x-couch-update-newrev, x-couchdb-body-time\r\n";

const EXPOSED: &str = "content-type, cache-control, accept-ranges, etag, server, x-couch-request-id, \
    x-couch-update-newrev, x-couchdb-body-time, deprecation, sunset, link";

/// The todo app, loaded from [`APP`].
fn shared() -> Settings {
    shared_with(Origins::These(HashSet::from([APP.parse().unwrap()])), true)
}

fn shared_with(origins: Origins, credentials: bool) -> Settings {
    let headers = vec!["x-trace".parse().unwrap()];
    Settings {
        cors: Some(Cors {
            origins,
            credentials,
            headers,
        }),
        ..settings()
    }
}

/// The head of a preflight for this from this origin, as Chromium sends it.
fn asking(origin: &str, headers: &str) -> String {
    format!(
        "origin: {origin}\r\naccess-control-request-method: PUT\r\naccess-control-request-headers: {headers}\r\n\
         sec-fetch-mode: cors\r\n"
    )
}

/// Every CORS header, and what a cache has to know.
fn told(head: &Head) -> Vec<(&str, &str)> {
    let told = |name: &str| name.starts_with("access-control-") || name == "vary";
    let mut headers: Vec<_> = head
        .headers
        .iter()
        .filter(|(name, _)| told(name))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    headers.sort_unstable();
    headers
}

/// What an app of [`APP`] needs to read an answer, with credentials.
fn readable(vary: &str) -> [(&str, &str); 4] {
    [
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-origin", APP),
        ("access-control-expose-headers", EXPOSED),
        ("vary", vary),
    ]
}

#[tokio::test]
async fn preflights_are_answered_here() {
    let upstream = Scripted::listen().await;
    let settings = Settings {
        undeclared: Undeclared::Reject,
        version_header: "todo-version".parse().unwrap(),
        ..shared()
    };
    let proxy = Running::with(settings, &upstream.url()).await;
    let mut client = proxy.connect().await;
    for target in ["/todo/doc", "/other", "/", "/_session"] {
        let asks = asking(APP, "content-type,todo-version");
        client.ask("OPTIONS", target, &asks).await;
        let head = client.head().await;
        assert_eq!(head.status(), 204, "{target}");
        let expected = [
            ("access-control-allow-credentials", "true"),
            (
                "access-control-allow-headers",
                "accept, accept-language, authorization, content-length, content-range, content-type, destination, \
                 expires, if-match, last-modified, origin, pragma, x-couch-full-commit, x-couch-id, x-couch-persist, \
                 x-couchdb-www-authenticate, x-http-method-override, x-requested-with, x-couchdb-vhost-path, \
                 x-trace, todo-version",
            ),
            (
                "access-control-allow-methods",
                "COPY, DELETE, GET, HEAD, OPTIONS, POST, PUT",
            ),
            ("access-control-allow-origin", APP),
            ("access-control-max-age", "7200"),
            ("vary", "Origin"),
        ];
        assert_eq!(told(&head), expected, "{target}");
    }
    // What follows on the connection is the first that the upstream sees.
    client.ask("GET", "/_up", ORIGIN).await;
    assert_eq!(upstream.accept().await.head().await.line, "GET /_up HTTP/1.1");
}

#[tokio::test]
async fn the_embedded_upstream_is_no_exception() {
    let upstream = Upstream {
        service: UpstreamService::new(Embedded::memory()),
        account: None,
        name: "embedded".into(),
    };
    let proxy = Running::start(shared(), upstream).await;
    let mut client = proxy.connect().await;
    client.ask("OPTIONS", "/todo/doc", &asking(APP, "app-version")).await;
    assert_eq!(client.head().await.status(), 204);
    client.ask("PUT", "/todo", ORIGIN).await;
    let (head, _) = client.message().await;
    assert_eq!((head.status(), &told(&head)[..]), (201, &readable("Origin")[..]));
    // As CouchDB answers (transcripts, security 139).
    client
        .ask("OPTIONS", "/todo/doc", &asking("https://evil.example", "app-version"))
        .await;
    let (head, _) = client.message().await;
    assert_eq!((head.status(), &told(&head)[..]), (405, &[("vary", "Origin")][..]));
}

#[tokio::test]
async fn answers_say_once_who_may_read_them() {
    let upstream = Scripted::listen().await;
    let proxy = Running::with(shared(), &upstream.url()).await;
    let mut client = proxy.connect().await;
    client.ask("GET", "/todo/doc", ORIGIN).await;
    let mut couch = upstream.accept().await;
    assert_eq!(couch.head().await.get("origin"), Some(APP));
    // CouchDB's own CORS may be off, or on.
    couch.answer("200 OK", "etag: \"1-a\"\r\n", "{}").await;
    let (head, body) = client.message().await;
    assert_eq!((&told(&head)[..], body.as_str()), (&readable("Origin")[..], "{}"));
    assert_eq!(head.get("etag"), Some("\"1-a\""));
    client.ask("GET", "/todo/doc", ORIGIN).await;
    couch.head().await;
    couch.answer("200 OK", COUCHDB, "{}").await;
    assert_eq!(told(&client.message().await.0), readable("Origin"));
    // Something between may say more.
    client.ask("GET", "/todo/doc", ORIGIN).await;
    couch.head().await;
    let more = "vary: Accept\r\nvary: Cookie\r\naccess-control-allow-origin: *\r\naccess-control-allow-origin: *\r\n";
    couch.answer("304 Not Modified", more, "").await;
    assert_eq!(told(&client.message().await.0), readable("Accept, Cookie, Origin"));
}

#[tokio::test]
async fn a_feed_is_readable_while_it_streams() {
    let upstream = Scripted::listen().await;
    let proxy = Running::with(shared(), &upstream.url()).await;
    let mut client = proxy.connect().await;
    client
        .ask(
            "GET",
            "/todo/_changes?feed=continuous",
            &format!("{ORIGIN}app-version: todo-app@1.0.0\r\n"),
        )
        .await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    couch
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n\n\r\n")
        .await;
    assert_eq!(told(&client.head().await), readable("app-version, Origin"));
    assert_eq!(client.chunk().await, b"\n");
    couch.send("8\r\n{\"seq\":1\r\n").await;
    assert_eq!(client.chunk().await, b"{\"seq\":1");
}

#[tokio::test]
async fn an_app_can_read_what_the_proxy_refuses() {
    let upstream = Scripted::listen().await;
    let settings = Settings {
        filter_limit: 10,
        ..shared()
    };
    let proxy = Running::with(settings, &upstream.url()).await;
    let v2 = format!("{ORIGIN}app-version: todo-app@2.0.0\r\n");
    let unknown = format!("{ORIGIN}app-version: todo-app@9.0.0\r\n");
    for (method, target, headers, status) in [
        ("GET", "/todo/doc", &unknown, 400),
        ("POST", "/todo/_changes", &v2, 413),
        ("GET", "/todo/_changes?filter=a/b", &v2, 501),
    ] {
        let long = if method == "POST" { r#"{"since": 1234}"# } else { "" };
        let mut client = proxy.connect().await;
        client.ask_with(method, target, headers, long).await;
        let (head, _) = client.message().await;
        assert_eq!(head.status(), status);
        assert_eq!(told(&head)[..3], readable("")[..3], "{status}");
        assert!(head.get("vary").unwrap().ends_with("Origin"), "{status}");
    }
    let mut client = proxy.connect().await;
    client.ask("GET", "/todo/doc", ORIGIN).await;
    drop(upstream.accept().await);
    drop(upstream);
    let (head, _) = client.message().await;
    assert_eq!((head.status(), &told(&head)[..]), (502, &readable("Origin")[..]));
}

#[tokio::test]
async fn who_is_not_listed_is_told_nothing() {
    let upstream = Scripted::listen().await;
    let proxy = Running::with(shared(), &upstream.url()).await;
    let mut client = proxy.connect().await;
    let asks = asking("https://evil.example", "content-type, app-version");
    client.ask("OPTIONS", "/todo/doc", &asks).await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    // Whatever CouchDB thinks of it: the proxy's settings count.
    let allowed = "access-control-allow-origin: https://evil.example\r\naccess-control-allow-methods: PUT\r\n\
        access-control-allow-headers: content-type\r\naccess-control-allow-credentials: true\r\n\
        access-control-max-age: 600\r\n";
    couch.send(format!("HTTP/1.1 204 No Content\r\n{allowed}\r\n")).await;
    assert_eq!(told(&client.head().await), [("vary", "Origin")]);
    for origin in ["origin: https://evil.example\r\n", "origin: null\r\n", ""] {
        client.ask("GET", "/todo/doc", origin).await;
        couch.head().await;
        couch.answer("200 OK", COUCHDB, "{}").await;
        let (head, body) = client.message().await;
        assert_eq!((&told(&head)[..], body.as_str()), (&[("vary", "Origin")][..], "{}"));
    }
}

#[tokio::test]
async fn any_origin_may_be_allowed() {
    for credentials in [true, false] {
        let upstream = Scripted::listen().await;
        let proxy = Running::with(shared_with(Origins::Any, credentials), &upstream.url()).await;
        let mut client = proxy.connect().await;
        for origin in ["https://a.example", "capacitor://localhost", "null"] {
            client.ask("OPTIONS", "/todo", &asking(origin, "app-version")).await;
            let head = client.head().await;
            // By name, as CouchDB does: `*` does not go with credentials.
            assert_eq!(head.all("access-control-allow-origin"), [origin]);
            let allowed = head.get("access-control-allow-credentials");
            assert_eq!(allowed, credentials.then_some("true"));
            assert_eq!(head.get("vary"), Some("Origin"));
        }
    }
}

#[tokio::test]
async fn couchdb_decides_where_nothing_else_is_said() {
    let upstream = Scripted::listen().await;
    let settings = Settings {
        undeclared: Undeclared::Reject,
        ..settings()
    };
    let proxy = Running::with(settings, &upstream.url()).await;
    let mut client = proxy.connect().await;
    let asks = asking(APP, "content-type, App-Version");
    client.ask("OPTIONS", "/todo/doc", &asks).await;
    let mut couch = upstream.accept().await;
    let head = couch.head().await;
    assert_eq!(head.get("access-control-request-headers"), Some("content-type"));
    let allowed = "access-control-allow-origin: https://app.example\r\naccess-control-allow-methods: PUT\r\n\
        access-control-allow-headers: content-type\r\n";
    couch.send(format!("HTTP/1.1 204 No Content\r\n{allowed}\r\n")).await;
    let expected = [
        ("access-control-allow-headers", "content-type, app-version"),
        ("access-control-allow-methods", "PUT"),
        ("access-control-allow-origin", APP),
        ("vary", "Origin"),
    ];
    assert_eq!(told(&client.head().await), expected);

    client.ask("GET", "/other/doc", ORIGIN).await;
    couch.head().await;
    couch.answer("200 OK", COUCHDB, "{}").await;
    assert_eq!(told(&client.message().await.0), readable("Origin"));

    // Where CORS is off, or the origin unknown, it stays so.
    client.ask("OPTIONS", "/todo/doc", &asks).await;
    couch.head().await;
    couch.answer("405 Method Not Allowed", "", "{}").await;
    let (head, _) = client.message().await;
    assert_eq!((head.status(), told(&head)), (405, vec![]));
    client.ask("GET", "/other/doc", ORIGIN).await;
    couch.head().await;
    couch.answer("200 OK", "vary: Accept\r\n", "{}").await;
    assert_eq!(told(&client.message().await.0), [("vary", "Accept")]);
}
