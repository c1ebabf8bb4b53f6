//! The proxy before a real CouchDB, the one at `COUCHDB_URL` (with an admin's name and password); skipped without.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use chesterfield::{
    proxy::{Changes, Databases, Settings},
    upstream::{self, Timeouts},
};
use serde_json::{Value, json};
use support::{Head, Running, Wire, todo_apps};
use tokio::net::TcpStream;

const V2: &str = "app-version: todo-app@2.0.0\r\n";

/// A database on a real CouchDB, deleted at the end, and a client of the proxy before it.
struct Couch {
    client: Wire,
    proxy: Running,
    db: String,
    authorization: String,
}

impl Couch {
    /// None without `COUCHDB_URL`.
    async fn with(name: &str) -> Option<Self> {
        Self::filtering(name, Changes::default()).await
    }

    async fn filtering(name: &str, changes: Changes) -> Option<Self> {
        let url = std::env::var("COUCHDB_URL").ok()?;
        let upstream = upstream::http(&url, Timeouts::default()).unwrap();
        let account = upstream.account.clone().unwrap();
        let authorization = format!("authorization: {}\r\n", account.to_str().unwrap());
        // CouchDB may say for a while that a database that was deleted is still there.
        let db = format!("px_{name}_{changes:?}_{}", std::process::id()).to_lowercase();
        let databases = Databases::new(["px_*"]).unwrap();
        let settings = Settings {
            databases,
            apps: todo_apps(),
            changes,
            ..Settings::default()
        };
        let proxy = Running::start(settings, upstream).await;
        let mut couch = Self {
            client: proxy.connect().await,
            proxy,
            db,
            authorization,
        };
        assert_eq!(couch.ask("PUT", "?q=1", "", "").await.0.status(), 201);
        let docs =
            ["todo-item:a:v:1", "todo-item:a:v:2", "plain", "todo-item:b:v:2"].map(|id| json!({ "_id": id, "n": 1 }));
        let docs = json!({ "docs": docs }).to_string();
        assert_eq!(couch.ask("POST", "/_bulk_docs", "", &docs).await.0.status(), 201);
        Some(couch)
    }

    async fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> (Head, String) {
        let target = format!("/{}{path}", self.db);
        self.client
            .ask_with(method, &target, &format!("{}{headers}", self.authorization), body)
            .await;
        self.client.message().await
    }

    async fn gone(mut self) {
        assert_eq!(self.ask("DELETE", "", "", "").await.0.status(), 200);
    }
}

/// The ids of a feed's rows, sorted: `_bulk_docs` does not write in order.
fn ids(feed: &str) -> Vec<String> {
    let feed: Value = serde_json::from_str(feed).unwrap();
    let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
    let mut ids: Vec<_> = feed["results"].as_array().unwrap().iter().map(id).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn couchdb_answers_only_what_the_version_may_see() {
    for changes in [Changes::Rows, Changes::Selector] {
        let Some(couch) = Couch::filtering("sees", changes).await else {
            return;
        };
        only_what_the_version_may_see(couch).await;
    }
}

/// With a filter and a limit CouchDB 3.5 itself loses some (`Query::is_counted_here`).
#[tokio::test]
async fn no_row_of_a_database_in_shards_is_lost_between_pages() {
    for changes in [Changes::Rows, Changes::Selector] {
        let Some(mut couch) = Couch::filtering("shards", changes).await else {
            return;
        };
        assert_eq!(couch.ask("DELETE", "", "", "").await.0.status(), 200);
        couch.db.push_str("_q8");
        assert_eq!(couch.ask("PUT", "?q=8", "", "").await.0.status(), 201);
        let docs = (0..1000).map(|n| json!({ "_id": format!("todo-item:{n}:v:{}", 1 + n % 2) }));
        let docs = json!({ "docs": docs.collect::<Vec<_>>() }).to_string();
        assert_eq!(couch.ask("POST", "/_bulk_docs", "", &docs).await.0.status(), 201);
        for (method, filter, posted) in [
            ("GET", "", ""),
            ("POST", "&filter=_selector", r#"{"selector":{"_id":{"$regex":"v:2$"}}}"#),
        ] {
            let (mut seen, mut since) = (Vec::new(), "0".to_owned());
            loop {
                let path = format!("/_changes?limit=7&since={since}{filter}");
                let (_, page) = couch.ask(method, &path, V2, posted).await;
                let rows = ids(&page);
                if rows.is_empty() {
                    break;
                }
                seen.extend(rows);
                let page: Value = serde_json::from_str(&page).unwrap();
                since = page["last_seq"].as_str().unwrap().to_owned();
            }
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 500, "{changes:?} {method}");
        }
        couch.gone().await;
    }
}

/// CouchDB leaves the body unread, and would take it for the next request on the connection: somebody else's.
#[tokio::test]
async fn a_body_that_couchdb_does_not_read_is_no_request() {
    let Some(mut couch) = Couch::with("unread").await else {
        return;
    };
    // The begin of one, which the next client would end with its own and with its name and password.
    let hidden = format!("GET /{}/plain HTTP/1.1\r\nx-rest: ", couch.db);
    let (head, _) = couch.ask("PUT", "/_local%2Fa/file", "", &hidden).await;
    assert_eq!(head.status(), 201);
    // Another client, on what the proxy has open to CouchDB.
    couch.client = couch.proxy.connect().await;
    let (head, body) = couch.ask("GET", "/nothing", "", "").await;
    assert_eq!(head.status(), 404, "{body}");
    let document = r#"{"_attachments":{"a":{"follows":true,"length":1,"content_type":"a/b"}}}"#;
    let parts = format!("--b\r\nContent-Type: application/json\r\n\r\n{document}\r\n--b\r\n\r\na\r\n--b--");
    // CouchDB reads 4 KB at once.
    let posted = format!("{parts:4096}{hidden}");
    let (db, authorization, length) = (&couch.db, &couch.authorization, posted.len());
    let kind = "content-type: multipart/related;boundary=b";
    let head =
        format!("PUT /{db}/parts HTTP/1.1\r\nhost: x\r\n{authorization}{kind}\r\ncontent-length: {length}\r\n\r\n");
    couch.client.send(format!("{head}{posted}")).await;
    let (head, _) = couch.client.message().await;
    assert_eq!(head.status(), 201);
    // Another client, on what the proxy has open to CouchDB.
    couch.client = couch.proxy.connect().await;
    let (head, body) = couch.ask("GET", "/nothing", "", "").await;
    assert_eq!(head.status(), 404, "{body}");
    couch.gone().await;
}

async fn only_what_the_version_may_see(mut couch: Couch) {
    let seen = ["plain", "todo-item:a:v:2", "todo-item:b:v:2"];
    assert_eq!(ids(&couch.ask("GET", "/_changes", "", "").await.1).len(), 4);
    let (head, feed) = couch.ask("GET", "/_changes", V2, "").await;
    assert_eq!(ids(&feed), seen);
    let etag = head.get("etag").unwrap();
    let (head, _) = couch
        .ask("GET", "/_changes", &format!("{V2}if-none-match: {etag}\r\n"), "")
        .await;
    assert_eq!(head.status(), 304);

    assert_eq!(ids(&couch.ask("POST", "/_changes", V2, "{}").await.1), seen);
    assert_eq!(ids(&couch.ask("GET", "/_changes?feed=longpoll", V2, "").await.1), seen);
    let theirs = r#"{"selector":{"_id":{"$regex":"todo"}}}"#;
    let (_, feed) = couch.ask("POST", "/_changes?filter=_selector", V2, theirs).await;
    assert_eq!(ids(&feed), ["todo-item:a:v:2", "todo-item:b:v:2"]);
    // Within an `$and` an empty one would let nothing pass.
    let none = r#"{"selector":{ }}"#;
    let (_, feed) = couch.ask("POST", "/_changes?filter=_selector", V2, none).await;
    assert_eq!(ids(&feed), seen);
    let (_, feed) = couch.ask("GET", "/_changes?feed=continuous&timeout=100", V2, "").await;
    assert_eq!(feed.lines().filter(|line| line.contains("\"id\"")).count(), 3);
    let (_, feed) = couch.ask("GET", "/_changes?feed=eventsource&timeout=100", V2, "").await;
    let events: Vec<_> = feed.lines().filter(|line| line.starts_with("data: {")).collect();
    assert_eq!(events.len(), 3);

    // The header is obeyed by a POST as by a GET.
    let last = feed
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .next()
        .unwrap()
        .trim_matches('"')
        .to_owned();
    let (_, feed) = couch
        .ask(
            "GET",
            "/_changes?feed=eventsource&timeout=100",
            &format!("{V2}last-event-id: {last}\r\n"),
            "",
        )
        .await;
    assert_eq!(feed.lines().filter(|line| line.starts_with("data: {")).count(), 2);
    couch.gone().await;
}

/// `last_seq` and `pending` of a feed.
fn end(feed: &str) -> (String, Value) {
    let feed: Value = serde_json::from_str(feed).unwrap();
    (feed["last_seq"].as_str().unwrap().to_owned(), feed["pending"].clone())
}

#[tokio::test]
async fn functions_of_the_client_filter_what_the_version_may_see() {
    for changes in [Changes::Rows, Changes::Selector] {
        let Some(mut couch) = Couch::filtering("functions", changes).await else {
            return;
        };
        let design = json!({
            "filters": {"begins": "function(doc, req) { return doc._id.indexOf(req.query.prefix) == 0; }"},
            "views": {"todos": {"map": "function(doc) { if (doc._id.indexOf('todo') == 0) { emit(doc.n); } }"}},
        });
        assert_eq!(
            couch
                .ask("PUT", "/_design/app", "", &design.to_string())
                .await
                .0
                .status(),
            201
        );
        let many: Vec<Value> = (0..300)
            .map(|n| json!({ "_id": format!("todo-item:{n}:v:1") }))
            .collect();
        let many = json!({ "docs": many }).to_string();
        assert_eq!(couch.ask("POST", "/_bulk_docs", "", &many).await.0.status(), 201);
        couch.ask("PUT", "/todo-item:z:v:2", "", "{}").await;
        let seen = ["todo-item:a:v:2", "todo-item:b:v:2", "todo-item:z:v:2"];
        for filter in ["app/begins&prefix=todo", "_view&view=app/todos"] {
            let (_, feed) = couch.ask("GET", &format!("/_changes?filter={filter}"), V2, "").await;
            assert_eq!(ids(&feed), seen, "{filter}");
            // The last comes after 300 hidden ones; each page says how many changes there are after it.
            let mut since = "0".to_owned();
            for (last, left) in [
                ("todo-item:a:v:2", 304),
                ("todo-item:b:v:2", 302),
                ("todo-item:z:v:2", 0),
            ] {
                let path = format!("/_changes?filter={filter}&limit=1&seq_interval=7&since={since}");
                let (_, feed) = couch.ask("GET", &path, V2, "").await;
                assert_eq!(ids(&feed), [last], "{path}");
                let (last_seq, pending) = end(&feed);
                let (_, rest) = couch.ask("GET", &format!("/_changes?since={last_seq}"), "", "").await;
                // Of its own pages CouchDB says one more when `last_seq` has run past a change that was filtered out.
                let (pending, rest) = (pending.as_u64().unwrap(), ids(&rest).len() as u64);
                assert!(
                    pending == rest || pending == rest + 1,
                    "{path}: {pending} and not {rest}"
                );
                assert!(pending <= left, "{path}: {pending}");
                since = last_seq;
            }
            let (_, feed) = couch
                .ask(
                    "GET",
                    &format!("/_changes?filter={filter}&limit=1&since={since}"),
                    V2,
                    "",
                )
                .await;
            assert_eq!((ids(&feed).len(), end(&feed).1), (0, json!(0)));
        }
        // What CouchDB refuses, it refuses.
        for (filter, status) in [("app/nothing", 404), ("_view", 400), ("nothing", 400), ("_none", 400)] {
            let (head, _) = couch.ask("GET", &format!("/_changes?filter={filter}"), V2, "").await;
            assert_eq!(head.status(), status, "{filter}");
        }
        couch.gone().await;
    }
}

#[tokio::test]
async fn a_hidden_write_wakes_nobody() {
    for changes in [Changes::Rows, Changes::Selector] {
        let Some(mut couch) = Couch::filtering("wakes", changes).await else {
            return;
        };
        for feed in ["longpoll", "continuous", "eventsource"] {
            let mut waiting = couch.proxy.connect().await;
            let target = format!("/{}/_changes?feed={feed}&since=now&limit=1&heartbeat=5000", couch.db);
            let headers = format!("{}{V2}", couch.authorization);
            waiting.ask("GET", &target, &headers).await;
            // The feed stands when its head is there: CouchDB sends it when it begins to wait.
            let head = waiting.head().await;
            assert_eq!(head.status(), 200);
            let hidden = format!("/todo-item:{feed}:v:1");
            assert_eq!(couch.ask("PUT", &hidden, "", "{}").await.0.status(), 201);
            assert_eq!(couch.ask("PUT", &format!("/{feed}"), "", "{}").await.0.status(), 201);
            let mut told = String::new();
            loop {
                let chunk = waiting.chunk().await;
                if chunk.is_empty() {
                    break;
                }
                told += std::str::from_utf8(&chunk).unwrap();
            }
            assert!(told.contains(&format!("\"id\":\"{feed}\"")), "{told}");
            assert!(!told.contains(":v:1"), "{told}");
        }
        couch.gone().await;
    }
}

#[tokio::test]
async fn what_is_refused_here_couchdb_refuses_in_the_same_words() {
    let Some(mut couch) = Couch::filtering("words", Changes::Selector).await else {
        return;
    };
    for (path, headers, body) in [
        ("/_changes?filter=_selector", "", "{"),
        ("/_changes?filter=_selector", "", "[]"),
        ("/_changes?filter=_selector", "", "{}"),
        ("/_changes?filter=_selector", "", r#"{"selector":"x"}"#),
        ("/_changes?filter=_selector", "", r#"{"selector":{"$no":1}}"#),
        ("/_changes?filter=_selector", "", ""),
        ("/_changes", "", "[1]"),
        ("/_changes", "", "{} x"),
        ("/_changes", "content-encoding: br\r\n", "{}"),
        ("/_changes", "content-encoding: gzip\r\n", "{}"),
        ("/_changes?since=nope", "", "{}"),
        ("/_changes?filter=_doc_ids", "", ""),
        ("/_changes?filter=_doc_ids", "", "[]"),
        ("/_changes?filter=_doc_ids", "", "{}"),
        ("/_changes?filter=_doc_ids", "", r#"{"doc_ids":[1]}"#),
        (
            "/_changes?filter=_doc_ids&doc_ids=x",
            "x-http-method-override: GET\r\n",
            "{}",
        ),
        ("/_changes?feed=bogus", "", "{}"),
    ] {
        let (plain, said) = couch.ask("POST", path, headers, body).await;
        couch.client = couch.proxy.connect().await;
        let (ours, says) = couch.ask("POST", path, &format!("{V2}{headers}"), body).await;
        couch.client = couch.proxy.connect().await;
        assert_eq!((ours.status(), says), (plain.status(), said), "{path} {headers} {body}");
    }
    couch.gone().await;
}

#[tokio::test]
async fn every_spelling_is_answered_as_without_a_proxy() {
    let Some(mut couch) = Couch::with("same").await else {
        return;
    };
    let url = std::env::var("COUCHDB_URL").unwrap();
    let address = url.trim_end_matches('/').rsplit(['@', '/']).next().unwrap();
    let db = couch.db.clone();
    // So that each write below is a conflict, and changes nothing.
    assert_eq!(couch.ask("PUT", "/un+enc", "", "{}").await.0.status(), 201);
    for (method, target, headers, body) in [
        ("GET", "//DB/plain", "", ""),
        ("GET", "http://127.0.0.1:5984/DB/plain", "", ""),
        ("GET", "/DB/pl%61in/", "", ""),
        ("GET", "/DB/../DB/plain", "", ""),
        ("GET", "/DB/%5Fall_docs?limit=0", "", ""),
        ("GET", "/DB/_local%2Fx", "", ""),
        ("GET", "/DB/_design%2Fx/_view/v", "", ""),
        ("GET", "/DB/plain?x=%zz", "", ""),
        ("HEAD", "/DB/plain", "", ""),
        (
            "GET",
            "/DB/plain",
            "if-none-match: \"1-1fe7e2ca18bca9ed4f6d3e1cc3d1b4ea\"\r\n",
            "",
        ),
        ("POST", "/DB/un+enc", "x-http-method-override: PUT\r\n", "{\"v\":1}"),
        ("GET", "/DB/un%20enc", "", ""),
        ("PUT", "/DB/un+enc", "", "{\"v\":2}"),
        ("GET", "/DB/_changes/foo?limit=0", "", ""),
        ("POST", "/DB/_bulk_docs/", "", "{\"docs\":[]}"),
        ("DELETE", "/DB/_changes", "", ""),
        (
            "OPTIONS",
            "/DB/plain",
            "origin: https://a\r\naccess-control-request-method: GET\r\n",
            "",
        ),
    ] {
        let target = target.replace("DB", &db);
        let headers = format!("{}{headers}", couch.authorization);
        let mut answers = Vec::new();
        let direct = Wire::new(TcpStream::connect(address).await.unwrap());
        for mut client in [direct, couch.proxy.connect().await] {
            if body.is_empty() {
                client.ask(method, &target, &headers).await;
            } else {
                client.ask_with(method, &target, &headers, body).await;
            }
            let (head, body) = if method == "HEAD" {
                (client.head().await, String::new())
            } else {
                client.message().await
            };
            // `Vary` is what the proxy itself adds to `_changes`.
            let kept = |name: &str| {
                !matches!(
                    name,
                    "date" | "x-couch-request-id" | "x-couchdb-body-time" | "connection" | "vary"
                )
            };
            let mut headers: Vec<_> = head.headers.into_iter().filter(|(name, _)| kept(name)).collect();
            headers.sort_unstable();
            answers.push((head.line, headers, body));
        }
        assert_eq!(answers[0], answers[1], "{method} {target}");
    }
    couch.gone().await;
}
