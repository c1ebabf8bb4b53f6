//! The checkpoints of clients that see through a filter are kept apart from all others, and clients do not notice.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/stage.rs"]
mod stage;
mod support;

use std::io::Write;

use chesterfield::proxy::{Settings, Undeclared};
use serde_json::Value;
use stage::{Asking, Stage};
use support::{Head, Running, Scripted, Wire, settings, todo_apps};

const V1: &str = "app-version: todo-app@1.0.0\r\n";
const V2: &str = "app-version: todo-app@2.0.0\r\n";
const JSON: &str = "content-type: application/json\r\n";

/// A client, the proxy before a scripted upstream, and that upstream.
struct Todo {
    client: Wire,
    upstream: Scripted,
    _proxy: Running,
}

impl Todo {
    async fn new() -> Self {
        Self::with(settings()).await
    }

    async fn with(settings: Settings) -> Self {
        let upstream = Scripted::listen().await;
        let proxy = Running::with(settings, &upstream.url()).await;
        Self {
            client: proxy.connect().await,
            upstream,
            _proxy: proxy,
        }
    }

    /// One exchange: what reaches the upstream of this request, and what the client gets of this answer.
    async fn exchange(&mut self, request: (&str, &str, &str, &str), answer: (&str, &str, &str)) -> (Seen, Seen) {
        let (method, target, headers, body) = request;
        if body.is_empty() {
            self.client.ask(method, target, headers).await;
        } else {
            self.client.ask_with(method, target, headers, body).await;
        }
        let mut behind = self.upstream.accept().await;
        let asked = Seen::of(behind.message().await);
        let (status, headers, body) = answer;
        behind
            .answer(status, &format!("{headers}connection: close\r\n"), body)
            .await;
        (asked, Seen::of(self.client.message().await))
    }
}

/// A message.
#[derive(Debug)]
struct Seen {
    head: Head,
    body: String,
}

impl Seen {
    fn of((head, body): (Head, String)) -> Self {
        Self { head, body }
    }

    fn target(&self) -> &str {
        self.head.line.split(' ').nth(1).unwrap()
    }
}

/// How the names of version 2 begin.
fn prefix() -> String {
    let apps = todo_apps();
    let app = apps.resolve("todo-app@2.0.0").unwrap();
    format!("filter-{}-", app.replicates.as_ref().unwrap().tag())
}

#[tokio::test]
async fn a_checkpoint_is_written_and_read_under_the_name_of_the_filter() {
    let prefix = prefix();
    let mut todo = Todo::new().await;
    let (asked, told) = todo
        .exchange(
            (
                "PUT",
                "/todo/_local/abc%3D%3D?x=1",
                V2,
                r#"{"session_id":"s","_id":"_local/abc==","last_seq":"3-x"}"#,
            ),
            (
                "201 Created",
                &format!("{JSON}etag: \"E\"\r\nlocation: http://todo.example/todo/_local%2F{prefix}abc%3D%3D\r\n"),
                &format!("{{\"ok\":true,\"id\":\"_local/{prefix}abc==\",\"rev\":\"0-1\"}}\n"),
            ),
        )
        .await;
    assert_eq!(
        asked.head.line,
        format!("PUT /todo/_local/{prefix}abc%3D%3D?x=1 HTTP/1.1")
    );
    assert_eq!(
        asked.body,
        format!(r#"{{"session_id":"s","_id":"_local/{prefix}abc==","last_seq":"3-x"}}"#)
    );
    assert_eq!(told.body, "{\"ok\":true,\"id\":\"_local/abc==\",\"rev\":\"0-1\"}\n");
    assert_eq!(
        told.head.get("location"),
        Some("http://todo.example/todo/_local%2Fabc%3D%3D")
    );
    assert_eq!(told.head.get("etag"), Some("\"E\""));

    let (asked, told) = todo
        .exchange(
            (
                "GET",
                "/todo/_local/abc%3D%3D",
                &format!("{V2}accept-encoding: gzip\r\n"),
                "",
            ),
            (
                "200 OK",
                &format!("{JSON}etag: \"E\"\r\n"),
                &format!(
                    "{{\"_id\":\"_local/{prefix}abc==\",\"_rev\":\"0-1\",\"id\":\"_local/{prefix}abc==\",\"n\":1e2}}\n"
                ),
            ),
        )
        .await;
    assert_eq!(asked.target(), format!("/todo/_local/{prefix}abc%3D%3D"));
    assert_eq!(asked.head.get("accept-encoding"), Some("identity"));
    // Only what names the document is changed, and not what it holds.
    let shown = format!("{{\"_id\":\"_local/abc==\",\"_rev\":\"0-1\",\"id\":\"_local/{prefix}abc==\",\"n\":1e2}}\n");
    assert_eq!(told.body, shown);
    assert_eq!(told.head.get("etag"), Some("\"E\""));
    assert_eq!(told.head.get("content-length"), Some(&*shown.len().to_string()));

    let (asked, told) = todo
        .exchange(
            ("DELETE", "/todo/_local%2Fabc?rev=0-1", V2, ""),
            (
                "200 OK",
                JSON,
                &format!(r#"{{"ok":true,"id":"_local/{prefix}abc","rev":"0-0"}}"#),
            ),
        )
        .await;
    assert_eq!(asked.target(), format!("/todo/_local%2F{prefix}abc?rev=0-1"));
    assert_eq!(told.body, r#"{"ok":true,"id":"_local/abc","rev":"0-0"}"#);
}

#[tokio::test]
async fn heads_and_conditions_are_as_for_any_document() {
    let mut todo = Todo::new().await;
    let length = "{\"_id\":\"_local/x\",\"_rev\":\"0-1\"}\n".len();
    todo.client.ask("HEAD", "/todo/_local/x", V2).await;
    let mut behind = todo.upstream.accept().await;
    behind.head().await;
    let stored = length + prefix().len();
    behind
        .send(format!(
            "HTTP/1.1 200 OK\r\n{JSON}content-length: {stored}\r\netag: \"E\"\r\nconnection: close\r\n\r\n"
        ))
        .await;
    let head = todo.client.head().await;
    assert_eq!(head.get("content-length"), Some(&*length.to_string()));
    assert_eq!(head.get("etag"), Some("\"E\""));

    let headers = format!("{V2}if-none-match: \"E\"\r\n");
    todo.client.ask("GET", "/todo/_local/x", &headers).await;
    let mut behind = todo.upstream.accept().await;
    assert_eq!(behind.head().await.get("if-none-match"), Some("\"E\""));
    behind
        .send("HTTP/1.1 304 Not Modified\r\netag: \"E\"\r\nconnection: close\r\n\r\n")
        .await;
    assert_eq!(todo.client.head().await.status(), 304);
}

#[tokio::test]
async fn what_couchdb_refuses_is_told_as_it_is() {
    let mut todo = Todo::new().await;
    for (status, body) in [
        (
            "404 Object Not Found",
            "{\"error\":\"not_found\",\"reason\":\"missing\"}\n",
        ),
        (
            "403 Forbidden",
            "{\"error\":\"forbidden\",\"reason\":\"_writer access is required for this request\"}\n",
        ),
        ("200 OK", "[{\"missing\":\"0-1\"}]\n"),
        ("200 OK", "<p>It works!</p>"),
    ] {
        let (_, told) = todo
            .exchange(("GET", "/todo/_local/x", V2, ""), (status, JSON, body))
            .await;
        assert_eq!(
            (told.head.line.as_str(), told.body.as_str()),
            (&*format!("HTTP/1.1 {status}"), body)
        );
    }
}

#[tokio::test]
async fn an_id_may_look_like_a_stored_one() {
    let prefix = prefix();
    let mut todo = Todo::new().await;
    let (asked, told) = todo
        .exchange(
            ("GET", &format!("/todo/_local/{prefix}x"), V2, ""),
            ("200 OK", JSON, &format!(r#"{{"_id":"_local/{prefix}{prefix}x"}}"#)),
        )
        .await;
    assert_eq!(asked.target(), format!("/todo/_local/{prefix}{prefix}x"));
    assert_eq!(told.body, format!(r#"{{"_id":"_local/{prefix}x"}}"#));
}

#[tokio::test]
async fn a_body_may_be_compressed_name_nothing_or_be_no_json() {
    let prefix = prefix();
    let mut todo = Todo::new().await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(br#"{"_id":"_local/x","v":1}"#).unwrap();
    let packed = encoder.finish().unwrap();
    let length = packed.len();
    let headers = format!("{V2}content-encoding: gzip\r\ncontent-length: {length}\r\n");
    todo.client.ask("PUT", "/todo/_local/x", &headers).await;
    todo.client.send(&packed).await;
    let mut behind = todo.upstream.accept().await;
    let asked = Seen::of(behind.message().await);
    assert_eq!(asked.body, format!(r#"{{"_id":"_local/{prefix}x","v":1}}"#));
    assert_eq!(asked.head.get("content-encoding"), None);
    behind.answer("201 Created", "connection: close\r\n", "{}").await;
    todo.client.message().await;

    for body in [
        r#"{"v":1}"#,
        r#"{"_id":"x"}"#,
        r#"{"_id":"#,
        r#"{"_id":["_local/x"],"x":{"_id":"_local/x"}}"#,
    ] {
        let (asked, _) = todo
            .exchange(("PUT", "/todo/_local/x", V2, body), ("201 Created", "", "{}"))
            .await;
        assert_eq!(asked.body, body);
        assert_eq!(asked.target(), format!("/todo/_local/{prefix}x"));
    }
}

#[tokio::test]
async fn other_ways_to_write_a_checkpoint_lead_to_the_same() {
    let prefix = prefix();
    let mut todo = Todo::new().await;
    let (asked, told) = todo
        .exchange(
            ("POST", "/todo", V2, r#"{"_id":"_local/x"}"#),
            (
                "201 Created",
                JSON,
                &format!(r#"{{"ok":true,"id":"_local/{prefix}x","rev":"0-1"}}"#),
            ),
        )
        .await;
    assert_eq!(asked.body, format!(r#"{{"_id":"_local/{prefix}x"}}"#));
    assert_eq!(told.body, r#"{"ok":true,"id":"_local/x","rev":"0-1"}"#);

    let (asked, told) = todo
        .exchange(
            (
                "POST",
                "/todo/_bulk_docs",
                V2,
                r#"{"docs":[{"_id":"a"},{"_id":"\u005flocal/x","v":1.0}]}"#,
            ),
            (
                "201 Created",
                JSON,
                &format!(r#"[{{"ok":true,"id":"a","rev":"1-a"}},{{"ok":true,"id":"_local/{prefix}x","rev":"0-1"}}]"#),
            ),
        )
        .await;
    assert_eq!(
        asked.body,
        format!(r#"{{"docs":[{{"_id":"a"}},{{"_id":"_local/{prefix}x","v":1.0}}]}}"#)
    );
    assert_eq!(
        told.body,
        r#"[{"ok":true,"id":"a","rev":"1-a"},{"ok":true,"id":"_local/x","rev":"0-1"}]"#
    );

    let headers = format!("{V2}destination: _local%2Fy?rev=0-1\r\n");
    for (from, to) in [
        ("_local/x", format!("_local/{prefix}x")),
        ("a", "a".into()),
        ("_design/a", "_design/a".into()),
    ] {
        let (asked, told) = todo
            .exchange(
                ("COPY", &format!("/todo/{from}"), &headers, ""),
                (
                    "201 Created",
                    JSON,
                    &format!(r#"{{"ok":true,"id":"_local/{prefix}y","rev":"0-2"}}"#),
                ),
            )
            .await;
        assert_eq!(asked.target(), format!("/todo/{to}"));
        assert_eq!(
            asked.head.get("destination"),
            Some(&*format!("_local%2F{prefix}y?rev=0-1"))
        );
        assert_eq!(told.body, r#"{"ok":true,"id":"_local/y","rev":"0-2"}"#);
    }
    let headers = format!("{V2}destination: b\r\n");
    let answer = r#"{"ok":true,"id":"b","rev":"1-a"}"#;
    let (asked, told) = todo
        .exchange(("COPY", "/todo/_local/x", &headers, ""), ("201 Created", JSON, answer))
        .await;
    assert_eq!(asked.head.get("destination"), Some("b"));
    assert_eq!(told.body, answer);
}

#[tokio::test]
async fn bodies_without_checkpoints_are_not_touched() {
    let mut todo = Todo::new().await;
    for (method, target, body) in [
        ("POST", "/todo", r#"{ "_id":"a","about":"_local/x"}"#),
        (
            "POST",
            "/todo/_bulk_docs",
            r#"{"docs":[ {"_id":"a", "about":"\u005flocal/x"}]}"#,
        ),
        ("POST", "/todo/_bulk_docs", "junk of _local/"),
        ("PUT", "/todo/a", r#"{"_id":"_local/x"}"#),
        ("POST", "/todo/_bulk_get", r#"{"docs":[{"id":"_local/x"}]}"#),
    ] {
        let answer = format!(r#"[{{"id":"_local/{}x"}}]"#, prefix());
        let (asked, told) = todo
            .exchange((method, target, V2, body), ("200 OK", JSON, &answer))
            .await;
        assert_eq!((asked.target(), asked.body.as_str()), (target, body));
        assert_eq!(told.body, answer, "{target}");
    }
}

#[tokio::test]
async fn whoever_sees_everything_keeps_plain_names() {
    let mut todo = Todo::new().await;
    for (target, headers) in [
        ("/todo/_local/x", V1),
        ("/todo/_local/x", ""),
        ("/elsewhere/_local/x", V2),
    ] {
        let body = r#"{"_id":"_local/x"}"#;
        let answer = format!(r#"{{"ok":true,"id":"_local/{}x"}}"#, prefix());
        let (asked, told) = todo
            .exchange(("PUT", target, headers, body), ("201 Created", JSON, &answer))
            .await;
        assert_eq!((asked.target(), asked.body.as_str()), (target, body));
        assert_eq!(told.body, answer);
    }
    let (_, told) = todo.exchange(("GET", "/", V1, ""), ("200 OK", JSON, WELCOME)).await;
    assert_eq!(told.body, WELCOME);
}

const WELCOME: &str = "{\"couchdb\":\"Welcome\",\"uuid\":\"959a9a2e6edafaecadc4151a4f33eef4\",\"features\":[]}\n";

#[tokio::test]
async fn the_server_has_a_uuid_for_each_filter() {
    let mut todo = Todo::new().await;
    let (asked, told) = todo.exchange(("GET", "/?x", V2, ""), ("200 OK", JSON, WELCOME)).await;
    assert_eq!(asked.target(), "/?x");
    let uuid = told.body.split('"').nth(7).unwrap().to_owned();
    assert_ne!(told.body, WELCOME);
    assert_eq!(told.body.replace(&uuid, "959a9a2e6edafaecadc4151a4f33eef4"), WELCOME);
    // The version is not in it, and so an update that sees the same goes on where it was.
    let patched = "app-version: todo-app@2.7.1\r\n";
    let (_, again) = todo
        .exchange(("GET", "//", patched, ""), ("200 OK", JSON, WELCOME))
        .await;
    assert_eq!(again.body, told.body);

    for (status, body) in [
        ("200 OK", "{\"couchdb\":\"Welcome\"}"),
        ("401 Unauthorized", WELCOME),
        ("200 OK", "uuid"),
    ] {
        let (_, told) = todo.exchange(("GET", "/", V2, ""), (status, JSON, body)).await;
        assert_eq!(told.body, body);
    }
}

#[tokio::test]
async fn a_client_of_the_default_version_sees_through_its_filter() {
    let mut todo = Todo::with(Settings {
        undeclared: Undeclared::Default("todo-app@2.0.0".parse().unwrap()),
        ..settings()
    })
    .await;
    let (_, told) = todo.exchange(("GET", "/", "", ""), ("200 OK", JSON, WELCOME)).await;
    assert_ne!(told.body, WELCOME);
    let (asked, _) = todo
        .exchange(("GET", "/todo/_local/x", "", ""), ("404 Not Found", JSON, "{}"))
        .await;
    assert_eq!(asked.target(), format!("/todo/_local/{}x", prefix()));
}

#[tokio::test]
async fn a_method_may_be_overridden() {
    let mut todo = Todo::new().await;
    let headers = format!("{V2}x-http-method-override: PUT\r\n");
    let (asked, _) = todo
        .exchange(
            ("POST", "/todo/_local/x/", &headers, r#"{"_id":"_local/x"}"#),
            ("201 Created", JSON, "{}"),
        )
        .await;
    assert_eq!(asked.target(), format!("/todo/_local/{}x/", prefix()));
    assert_eq!(asked.body, format!(r#"{{"_id":"_local/{}x"}}"#, prefix()));
}

#[tokio::test]
async fn an_answer_in_pieces_is_put_together() {
    let mut todo = Todo::new().await;
    todo.client.ask("GET", "/todo/_local/x", V2).await;
    let mut behind = todo.upstream.accept().await;
    behind.head().await;
    let (start, end) = (format!("{{\"_id\":\"_local/{}", prefix()), "x\"}");
    let chunks = format!("{:x}\r\n{start}\r\n{:x}\r\n{end}\r\n0\r\n\r\n", start.len(), end.len());
    behind
        .send(format!(
            "HTTP/1.1 200 OK\r\n{JSON}transfer-encoding: chunked\r\nconnection: close\r\n\r\n{chunks}"
        ))
        .await;
    assert_eq!(todo.client.message().await.1, r#"{"_id":"_local/x"}"#);
}

#[tokio::test]
async fn what_is_far_longer_than_a_checkpoint_passes_as_it_comes() {
    let mut todo = Todo::new().await;
    for (method, target) in [
        ("PUT", "/todo/_local/x"),
        ("POST", "/todo"),
        ("POST", "/todo/_bulk_docs"),
    ] {
        let headers = format!("{V2}{JSON}content-length: {}\r\n", 2 << 20);
        todo.client.ask(method, target, &headers).await;
        let long = "x".repeat((1 << 20) + (1 << 19));
        todo.client.send(&long).await;
        // It is on its way before all of it has come.
        let mut behind = todo.upstream.accept().await;
        let head = behind.head().await;
        assert_eq!(head.get("content-length"), Some(&*(2 << 20).to_string()));
        assert_eq!(behind.exactly(long.len()).await, long.as_bytes());
        todo.client.send("x".repeat((2 << 20) - long.len())).await;
        behind.exactly((2 << 20) - long.len()).await;
        behind.answer("201 Created", "connection: close\r\n", "{}").await;
        assert_eq!(todo.client.message().await.1, "{}");
    }
}

/// What a client is answered, without what differs from one answer to the next.
async fn told(
    client: &Asking,
    version: Option<&str>,
    request: (&str, &str, &[(&str, &str)], &str),
) -> (u16, Vec<String>, Value) {
    let (method, path, headers, body) = request;
    let version = version.map(|version| ("app-version", version));
    let headers: Vec<(&str, &str)> = headers.iter().copied().chain(version).collect();
    let answer = client.ask_with(method, path, &headers, body.to_owned()).await;
    let differs = |name: &str| match name {
        "date" | "x-couch-request-id" | "x-couchdb-body-time" => true,
        // What comes in chunks is put together.
        "content-length" | "transfer-encoding" => path.contains("open_revs"),
        _ => false,
    };
    let headers = answer.headers.iter().filter(|(name, _)| !differs(name.as_str()));
    let mut headers: Vec<String> = headers
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort_unstable();
    (answer.status.as_u16(), headers, answer.body)
}

/// The same requests in the names of a filter and in plain ones: the answers are the same, and no document is.
#[tokio::test]
async fn clients_cannot_tell_whose_names_they_use() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    proxy.put("plain", serde_json::json!({"v": 1})).await;
    for request in [
        ("GET", "_local/x", &[][..], ""),
        ("HEAD", "_local/x", &[], ""),
        ("PUT", "_local/x", &[], r#"{"_id":"_local/x","v":1.5,"id":"_local/x"}"#),
        ("GET", "_local/x", &[], ""),
        ("GET", "_local/x", &[("accept", "text/plain")], ""),
        ("HEAD", "_local/x", &[], ""),
        ("GET", "_local%2Fx?revs=true&meta=true", &[], ""),
        (
            "GET",
            "_local/x?open_revs=%5B%220-1%22%5D",
            &[("accept", "application/json")],
            "",
        ),
        ("PUT", "_local/x?rev=0-1", &[], r#"{"v":2}"#),
        ("PUT", "_local/x", &[("if-match", "\"0-2\"")], r#"{"v":3}"#),
        ("PUT", "_local/x", &[], r#"{"v":"#),
        ("PUT", "_local/x", &[], r#"{"_foo":1}"#),
        ("PUT", "_local/%C3%A4%2F%2B+~", &[], r#"{"v":1}"#),
        ("GET", "_local/%C3%A4%2F%2B+~", &[], ""),
        ("PUT", "_local/x/attached", &[], "text"),
        ("GET", "_local/", &[], ""),
        ("PUT", "_local%2F", &[], "{}"),
        ("POST", "", &[], r#"{"_id":"_local/posted","v":1}"#),
        ("POST", "?batch=ok", &[], r#"{"_id":"_local/later","v":1}"#),
        ("POST", "", &[], r#"{"_id":"_local/"}"#),
        ("GET", "_local/posted", &[], ""),
        (
            "POST",
            "_bulk_docs",
            &[],
            r#"{"docs":[{"_id":"_local/b","v":1},{"_id":"plain","_rev":"1-0","v":2},{"_id":"_local/posted","_deleted":true}]}"#,
        ),
        ("GET", "_local/b", &[], ""),
        ("GET", "_local/posted", &[], ""),
        (
            "POST",
            "_bulk_docs",
            &[],
            r#"{"new_edits":false,"docs":[{"_id":"_local/c","_rev":"0-3","v":1}]}"#,
        ),
        ("GET", "_local/c", &[], ""),
        ("COPY", "_local/b", &[("destination", "_local/d%2Fe?rev=0-1")], ""),
        ("COPY", "plain", &[("destination", "_local%2Ff")], ""),
        ("GET", "_local/f", &[], ""),
        ("COPY", "_local/none", &[("destination", "_local/g")], ""),
        ("COPY", "_local/b", &[], ""),
        ("DELETE", "_local/x?rev=0-3", &[], ""),
        ("DELETE", "_local/x", &[], ""),
        ("GET", "_local/x", &[], ""),
        ("POST", "_local/b", &[("x-http-method-override", "DELETE")], ""),
    ] {
        let plain = told(&proxy, None, request).await;
        let scoped = told(&proxy, Some("todo-app@2.0.0"), request).await;
        assert_eq!(scoped, plain, "{request:?}");
    }
    // Each wrote its own.
    let asked = ("GET", "_local/c", &[][..], "");
    for (version, n) in [("todo-app@2.0.0", 2), ("todo-app@3.0.0", 3)] {
        let body = format!(r#"{{"v":{n}}}"#);
        told(&proxy, Some(version), ("PUT", "_local/c", &[], &body)).await;
    }
    for (version, n) in [
        (None, 1),
        (Some("todo-app@1.2.0"), 1),
        (Some("todo-app@2.0.0"), 2),
        (Some("todo-app@3.0.0"), 3),
    ] {
        assert_eq!(told(&proxy, version, asked).await.2["v"], n);
    }
    stage.end().await;
}

/// Of the list of `_local` documents a client sees its own, in order, and pages through them. The embedded store has no such list.
#[tokio::test]
async fn a_list_has_a_clients_own_documents() {
    if std::env::var("COUCHDB_URL").is_err() {
        #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
        {
            eprintln!("skipped: COUCHDB_URL names no CouchDB");
        }
        return;
    }
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let (v2, v3) = (Some("todo-app@2.0.0"), Some("todo-app@3.0.0"));
    for (version, ids) in [(v2, "abcd"), (v3, "bz"), (None, "ay")] {
        for id in ids.chars() {
            told(&proxy, version, ("PUT", &format!("_local/{id}"), &[], r#"{"v":1}"#)).await;
        }
    }
    for (query, ids) in [
        ("", "abcd"),
        ("?limit=2", "ab"),
        ("?limit=2&skip=1", "bc"),
        ("?limit=2&descending=true", "dc"),
        ("?startkey=%22_local/b%22&limit=2", "bc"),
        ("?start_key=%22_local/b%22&end_key=%22_local/c%22", "bc"),
        ("?startkey=%22_local/c%22&descending=true", "cba"),
        ("?endkey=%22_local/c%22&inclusive_end=false", "ab"),
        ("?startkey=%22_local/%22&endkey=%22_local0%22", "abcd"),
        ("?key=%22_local/b%22", "b"),
        ("?key=%22_local/z%22", ""),
        ("?keys=%5B%22_local/d%22,%22_local/a%22%5D", "da"),
        ("?include_docs=true&limit=1", "a"),
    ] {
        let expected: Vec<String> = ids.chars().map(|id| format!("_local/{id}")).collect();
        let (status, _, body) = told(&proxy, v2, ("GET", &format!("_local_docs{query}"), &[], "")).await;
        assert_eq!((status, ids_of(&body)), (200, expected), "{query}");
        for row in body["rows"].as_array().unwrap() {
            assert_eq!(row["key"], row["id"]);
            assert!(row.get("doc").is_none_or(|doc| doc["_id"] == row["id"]));
        }
    }
    for (path, body, ids) in [
        ("_local_docs", r#"{"limit":3,"descending":true}"#, "dcb"),
        ("_local_docs?limit=1", r#"{"startkey":"_local/b"}"#, "b"),
        ("_local_docs", r#"{"keys":["_local/c","_local/a"]}"#, "ca"),
        (
            "_local_docs/queries",
            r#"{"queries":[{"limit":9},{"key":"_local/b"}]}"#,
            "abcdb",
        ),
    ] {
        let (_, _, answer) = told(&proxy, v2, ("POST", path, &[], body)).await;
        let lists = answer["results"]
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![answer.clone()]);
        let seen: Vec<String> = lists.iter().flat_map(ids_of).collect();
        let expected: Vec<String> = ids.chars().map(|id| format!("_local/{id}")).collect();
        assert_eq!(seen, expected, "{body}: {answer}");
    }
    // A missing one is missing under the name that was asked for, and what CouchDB refuses is told as it is.
    for (path, body) in [
        ("_local_docs", r#"{"keys":["_local/none"]}"#),
        ("_local_docs", r#"{"keys":7}"#),
        ("_local_docs/queries", "{}"),
    ] {
        let request = ("POST", path, &[][..], body);
        assert_eq!(
            told(&proxy, v2, request).await.2,
            told(&proxy, None, request).await.2,
            "{body}"
        );
    }
    // Who sees everything sees all of them.
    let all = told(&proxy, None, ("GET", "_local_docs", &[], "")).await.2;
    assert_eq!(ids_of(&all).len(), 8);
    stage.end().await;
}

fn ids_of(list: &Value) -> Vec<String> {
    let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
    list["rows"].as_array().unwrap().iter().map(id).collect()
}
