//! Rows that an app version does not see are dropped on their way, and nobody can tell from the feed that they were there.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use chesterfield::proxy::{Changes, Settings};
use serde_json::{Value, json};
use support::{Head, Running, SELECTOR, Scripted, Wire, soon};
use tokio::io::AsyncReadExt;

const V2: &str = "app-version: todo-app@2.0.0\r\n";
const HIDDEN: &str = "todo-item:a:v:1";

/// A client, the proxy before a scripted upstream, and that upstream.
async fn todo(changes: Changes) -> (Wire, Running, Scripted) {
    let upstream = Scripted::listen().await;
    let settings = Settings {
        changes,
        ..support::settings()
    };
    let proxy = Running::with(settings, &upstream.url()).await;
    (proxy.connect().await, proxy, upstream)
}

fn row(seq: u32, id: &str) -> String {
    format!(r#"{{"seq":"{seq}-g","id":"{id}","changes":[{{"rev":"1-a"}}]}}"#)
}

/// A page as CouchDB writes it.
fn page(rows: &[(u32, &str)], last_seq: u32, pending: i64) -> String {
    let rows: Vec<String> = rows.iter().map(|(seq, id)| row(*seq, id)).collect();
    format!(
        "{{\"results\":[\n{}\n],\n\"last_seq\":\"{last_seq}-g\",\"pending\":{pending}}}\n",
        rows.join(",\r\n")
    )
}

/// A whole answer: the ids, `last_seq` and `pending`.
fn told(body: &str) -> (Vec<String>, String, Value) {
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
    let ids = body["results"].as_array().unwrap().iter().map(id).collect();
    (
        ids,
        body["last_seq"].as_str().unwrap().to_owned(),
        body["pending"].clone(),
    )
}

async fn begin(couch: &mut Wire) {
    couch
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
}

async fn chunk(couch: &mut Wire, text: &str) {
    couch.send(format!("{:x}\r\n{text}\r\n", text.len())).await;
}

/// What comes in chunks until it holds this.
async fn chunks_until(client: &mut Wire, end: &str) -> String {
    let mut came = String::new();
    while !came.contains(end) {
        let chunk = client.chunk().await;
        assert!(!chunk.is_empty(), "the feed ended after {came:?}");
        came.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    came
}

#[tokio::test]
async fn a_request_goes_on_as_it_is_and_its_hidden_rows_do_not_come_back() {
    let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
    client
        .ask(
            "GET",
            "/todo/_changes?since=3-g%2B",
            &format!("{V2}authorization: Basic x\r\naccept-encoding: gzip\r\n"),
        )
        .await;
    let mut couch = upstream.accept().await;
    let head = couch.head().await;
    assert_eq!(head.line, "GET /todo/_changes?since=3-g%2B HTTP/1.1");
    assert_eq!(
        (head.get("authorization"), head.get("accept-encoding")),
        (Some("Basic x"), None)
    );
    let all = page(
        &[
            (4, HIDDEN),
            (5, "plain"),
            (6, HIDDEN),
            (7, "todo-item:a:v:2"),
            (8, HIDDEN),
        ],
        8,
        0,
    );
    couch.answer("200 OK", "etag: \"ABC\"\r\n", &all).await;
    let (head, body) = client.message().await;
    assert_eq!(head.get("content-length"), None);
    assert!(head.get("etag").unwrap().starts_with("\"ABC-"));
    assert_eq!(head.get("vary"), Some("app-version"));
    assert_eq!(body, page(&[(5, "plain"), (7, "todo-item:a:v:2")], 8, 0));
}

#[tokio::test]
async fn what_is_not_hidden_comes_as_it_was_sent() {
    let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
    client.ask("GET", "/todo/_changes?limit=2", V2).await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    let all = page(&[(1, "a"), (2, "todo-item:a:v:2")], 2, 7);
    couch.answer("200 OK", "", &all).await;
    assert_eq!(client.message().await.1, all);
    // An error, or an old page, is not looked into.
    for (status, body) in [("400 Bad Request", "{\"error\":\"e\"}\n"), ("304 Not Modified", "")] {
        client.ask("GET", "/todo/_changes?limit=x", V2).await;
        couch.head().await;
        couch.answer(status, "", body).await;
        let (head, came) = client.message().await;
        assert_eq!((head.line, came.as_str()), (format!("HTTP/1.1 {status}"), body));
    }
}

#[tokio::test]
async fn pages_are_filled() {
    let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
    let headers = format!("{V2}authorization: Basic x\r\nif-none-match: \"x\"\r\n");
    client
        .ask("GET", "/todo/_changes?since=0&limit=3&seq_interval=3", &headers)
        .await;
    let mut couch = upstream.accept().await;
    let head = couch.head().await;
    assert_eq!(head.line, "GET /todo/_changes?since=0&limit=3&seq_interval=3 HTTP/1.1");
    couch
        .answer("200 OK", "", &page(&[(1, "a"), (2, HIDDEN), (3, HIDDEN)], 3, 9))
        .await;
    // More is asked for than is missing, and from every row it may end with.
    let head = couch.head().await;
    assert_eq!(
        head.line,
        "GET /todo/_changes?since=3-g&limit=15&seq_interval=1&feed=normal HTTP/1.1"
    );
    assert_eq!(
        (head.get("authorization"), head.get("if-none-match")),
        (Some("Basic x"), None)
    );
    let more = [(4, HIDDEN), (5, "b"), (6, "c"), (7, HIDDEN), (8, "d")];
    couch.answer("200 OK", "", &page(&more, 8, 4)).await;
    let (_, body) = client.message().await;
    let ids = ["a", "b", "c"].map(str::to_owned).to_vec();
    assert_eq!(told(&body), (ids, "6-g".to_owned(), json!(6)));
}

#[tokio::test]
async fn a_page_ends_where_the_changes_end() {
    for (rows, pending, visible) in [
        // Fewer than were asked for; as many, but there are no more.
        (&[(1, "a"), (2, HIDDEN)][..], 0, 1),
        (&[(1, "a"), (2, HIDDEN), (3, "b")][..], 0, 2),
        (&[][..], 0, 0),
    ] {
        let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
        client.ask("GET", "/todo/_changes?limit=3", V2).await;
        let mut couch = upstream.accept().await;
        couch.head().await;
        couch.answer("200 OK", "", &page(rows, 3, pending)).await;
        let (ids, last_seq, pending) = told(&client.message().await.1);
        assert_eq!((ids.len(), last_seq.as_str(), pending), (visible, "3-g", json!(0)));
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_move_on_is_not_asked_for_ever() {
    let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
    client.ask("GET", "/todo/_changes?since=3-g&limit=1", V2).await;
    let mut couch = upstream.accept().await;
    for rows in [1, 4] {
        couch.head().await;
        couch.answer("200 OK", "", &page(&vec![(3, HIDDEN); rows], 3, 9)).await;
    }
    let (ids, last_seq, _) = told(&client.message().await.1);
    assert_eq!((ids.len(), last_seq.as_str()), (0, "3-g"));
}

#[tokio::test]
async fn functions_filter_upstream_and_rows_are_dropped_here() {
    for changes in [Changes::Rows, Changes::Selector] {
        for filter in ["app%2Fkind&kind=a", "_view&view=app%2Fv", "%2F"] {
            let (mut client, _proxy, upstream) = todo(changes).await;
            let target = format!("/todo/_changes?filter={filter}");
            client.ask("GET", &format!("{target}&limit=2"), V2).await;
            let mut couch = upstream.accept().await;
            // With a limit CouchDB would lose rows (`Query::is_counted_here`).
            let unlimited = "limit=1000000000000000&seq_interval=1";
            assert_eq!(couch.head().await.line, format!("GET {target}&{unlimited} HTTP/1.1"));
            begin(&mut couch).await;
            let rows = [row(1, "a"), row(9, HIDDEN), row(11, HIDDEN), row(19, "b")].join(",\r\n");
            chunk(&mut couch, &format!("{{\"results\":[\n{rows}")).await;
            let unfiltered = target
                .replace("filter=app%2Fkind&", "")
                .replace("filter=_view&", "")
                .replace("filter=%2F", "");
            // How many are left is asked for: to the end of a page the filter may have far to go.
            let mut counts = upstream.accept().await;
            let head = counts.head().await;
            assert_eq!(
                head.line,
                format!("GET {unfiltered}&seq_interval=1&since=19-g&limit=0&feed=normal&filter= HTTP/1.1")
                    .replace("?&", "?")
            );
            counts.answer("200 OK", "", &page(&[], 19, 80)).await;
            let (_, body) = client.message().await;
            assert_eq!(
                told(&body),
                (vec!["a".to_owned(), "b".to_owned()], "19-g".to_owned(), json!(80))
            );
            couch.closed().await;
        }
    }
}

#[tokio::test]
async fn a_posted_filter_is_posted_again() {
    let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
    let posted = r#"{"selector":{"n":1e2}}"#;
    client
        .ask_with(
            "POST",
            "/todo/_changes?filter=_selector&feed=longpoll&limit=1",
            V2,
            posted,
        )
        .await;
    let mut couch = upstream.accept().await;
    let (head, body) = couch.message().await;
    let unlimited = "limit=1000000000000000&seq_interval=1";
    assert_eq!(
        head.line,
        format!("POST /todo/_changes?filter=_selector&feed=longpoll&{unlimited} HTTP/1.1")
    );
    assert_eq!(body, posted);
    couch.answer("200 OK", "", &page(&[(1, HIDDEN)], 1, 3)).await;
    let (head, body) = couch.message().await;
    assert!(
        head.line.starts_with(&format!(
            "POST /todo/_changes?filter=_selector&feed=longpoll&{unlimited}&since=1-g&timeout="
        )),
        "{}",
        head.line
    );
    assert_eq!(
        (body.as_str(), head.get("content-type")),
        (posted, Some("application/json"))
    );
    couch.answer("200 OK", "", &page(&[], 4, 0)).await;
    assert_eq!(told(&client.message().await.1), (vec![], "4-g".to_owned(), json!(0)));
}

#[tokio::test]
async fn what_is_posted_without_a_filter_is_not_posted_again() {
    let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
    client
        .ask_with(
            "POST",
            "/todo/_changes?limit=1",
            &format!("{V2}x-http-method-override: GET\r\n"),
            "junk",
        )
        .await;
    let mut couch = upstream.accept().await;
    let (head, body) = couch.message().await;
    assert_eq!(
        (head.line.as_str(), body.as_str()),
        ("POST /todo/_changes?limit=1 HTTP/1.1", "junk")
    );
    couch.answer("200 OK", "", &page(&[(1, HIDDEN)], 1, 3)).await;
    let head = couch.head().await;
    assert!(head.line.starts_with("GET "), "{}", head.line);
    for gone in ["content-length", "content-type", "x-http-method-override"] {
        assert_eq!(head.get(gone), None);
    }
    couch.answer("200 OK", "", &page(&[(2, "a")], 2, 0)).await;
    assert_eq!(told(&client.message().await.1).0, ["a"]);
}

#[tokio::test]
async fn a_longpoll_waits_until_it_has_something_to_tell() {
    let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
    client
        .ask("GET", "/todo/_changes?feed=longpoll&since=now&timeout=50000", V2)
        .await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    begin(&mut couch).await;
    chunk(&mut couch, "{\"results\":[\n").await;
    chunk(&mut couch, "\n").await;
    // The client sees at once that the feed stands.
    assert_eq!(client.head().await.status(), 200);
    assert_eq!(chunks_until(&mut client, "[\n\n").await, "{\"results\":[\n\n");
    chunk(&mut couch, &page(&[(4, HIDDEN)], 4, 0)["{\"results\":[\n".len()..]).await;
    couch.send("0\r\n\r\n").await;
    // On the same connection: hidden writes may be many.
    let head = couch.head().await;
    let rest = head
        .line
        .strip_prefix("GET /todo/_changes?feed=longpoll&since=4-g&timeout=");
    let left: u64 = rest.unwrap().strip_suffix(" HTTP/1.1").unwrap().parse().unwrap();
    // What has been waited already counts.
    assert!(left <= 50_000 && left > 30_000, "{left}");
    begin(&mut couch).await;
    chunk(&mut couch, "{\"results\":[\n").await;
    chunk(&mut couch, "\n").await;
    assert_eq!(chunks_until(&mut client, "\n").await, "\n");
    chunk(
        &mut couch,
        &page(&[(5, HIDDEN), (6, "a")], 6, 0)["{\"results\":[\n".len()..],
    )
    .await;
    couch.send("0\r\n\r\n").await;
    let end = chunks_until(&mut client, "}\n").await;
    assert_eq!(end, page(&[(6, "a")], 6, 0)["{\"results\":[\n".len()..]);
    assert!(client.chunk().await.is_empty());
}

#[tokio::test]
async fn a_longpoll_ends_when_its_time_is_over() {
    let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
    client.ask("GET", "/todo/_changes?feed=longpoll&timeout=0", V2).await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    couch.answer("200 OK", "", &page(&[(4, HIDDEN)], 4, 0)).await;
    assert_eq!(told(&client.message().await.1), (vec![], "4-g".to_owned(), json!(0)));
}

#[tokio::test]
async fn a_continuous_feed_ends_with_the_last_row_of_its_limit() {
    let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
    let target = "/todo/_changes?feed=continuous&heartbeat=9000";
    client.ask("GET", &format!("{target}&limit=2"), V2).await;
    let mut couch = upstream.accept().await;
    let head = couch.head().await;
    assert_eq!(
        head.line,
        format!("GET {target}&limit=1000000000000000&seq_interval=1 HTTP/1.1")
    );
    begin(&mut couch).await;
    client.head().await;
    let line = |seq, id| row(seq, id) + "\n";
    chunk(&mut couch, &(line(1, HIDDEN) + &line(2, "a") + "\n")).await;
    assert_eq!(chunks_until(&mut client, "\n\n").await, line(2, "a") + "\n");
    chunk(&mut couch, &(line(3, HIDDEN) + &line(4, "b") + &line(5, "c"))).await;
    let mut counts = upstream.accept().await;
    let head = counts.head().await;
    assert_eq!(
        head.line,
        "GET /todo/_changes?heartbeat=9000&seq_interval=1&since=4-g&limit=0&feed=normal&filter= HTTP/1.1"
    );
    counts.answer("200 OK", "", &page(&[], 4, 1)).await;
    let end = chunks_until(&mut client, "pending").await;
    assert_eq!(end, line(4, "b") + "{\"last_seq\":\"4-g\",\"pending\":1}\n");
    assert!(client.chunk().await.is_empty());
    couch.closed().await;
}

#[tokio::test]
async fn events_are_dropped_whole() {
    let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
    let target = "/todo/_changes?feed=eventsource";
    let headers = format!("{V2}last-event-id: 3-g\r\n");
    client.ask("GET", &format!("{target}&limit=1"), &headers).await;
    let mut couch = upstream.accept().await;
    let head = couch.head().await;
    assert!(head.line.starts_with(&format!("GET {target}&limit=")), "{}", head.line);
    assert_eq!(head.get("last-event-id"), Some("3-g"));
    begin(&mut couch).await;
    client.head().await;
    let event = |seq: u32, id| format!("data: {}\nid: \"{seq}-g\"\n\n", row(seq, id));
    let beat = "event: heartbeat\ndata: \n\n";
    chunk(
        &mut couch,
        &format!("{}{beat}{}{}", event(4, HIDDEN), event(5, "a"), event(6, "b")),
    )
    .await;
    assert_eq!(
        chunks_until(&mut client, "id: ").await,
        format!("{beat}{}", event(5, "a"))
    );
    assert!(client.chunk().await.is_empty());
    couch.closed().await;
}

#[tokio::test]
async fn a_client_hears_something_while_rows_are_dropped() {
    for (target, beat) in [
        ("/todo/_changes?feed=continuous&heartbeat=1", "\n"),
        ("/todo/_changes?feed=longpoll&heartbeat=1", "\n"),
        (
            "/todo/_changes?feed=eventsource&heartbeat=1",
            "event: heartbeat\ndata: \n\n",
        ),
    ] {
        let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
        client.ask("GET", target, V2).await;
        let mut couch = upstream.accept().await;
        couch.head().await;
        begin(&mut couch).await;
        client.head().await;
        let (opening, before) = match target.split('=').nth(1).unwrap() {
            "longpoll&heartbeat" => ("{\"results\":[\n", ""),
            "eventsource&heartbeat" => ("", "data: "),
            _ => ("", ""),
        };
        if !opening.is_empty() {
            chunk(&mut couch, opening).await;
            assert_eq!(client.chunk().await, opening.as_bytes());
        }
        // A row that never ends, and is not for this client.
        let begun = row(1, HIDDEN).replace("]}", "],\"doc\":{\"a\":\"");
        chunk(&mut couch, &format!("{before}{begun}")).await;
        assert_eq!(client.chunk().await, beat.as_bytes(), "{target}");
    }
}

#[tokio::test]
async fn a_feed_backwards_is_limited_by_couchdb_or_read_until_there_is_enough() {
    let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
    client.ask("GET", "/todo/_changes?descending=true&limit=1", V2).await;
    let (head, body) = upstream.accept().await.message().await;
    assert!(
        head.line.starts_with("POST ") && head.line.contains("filter=_selector"),
        "{}",
        head.line
    );
    assert!(body.contains(SELECTOR));

    let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
    let target = "/todo/_changes?descending=true&filter=app%2Fkind";
    client.ask("GET", &format!("{target}&limit=1"), V2).await;
    let mut couch = upstream.accept().await;
    let head = couch.head().await;
    assert_eq!(
        head.line,
        format!("GET {target}&limit=1000000000000000&seq_interval=1 HTTP/1.1")
    );
    begin(&mut couch).await;
    let rows = [row(9, HIDDEN), row(8, "a"), row(7, "b"), String::new()].join(",\r\n");
    chunk(&mut couch, &format!("{{\"results\":[\n{rows}")).await;
    let (_, body) = client.message().await;
    assert_eq!(told(&body), (vec!["a".to_owned()], "8-g".to_owned(), Value::Null));
    couch.closed().await;
}

#[tokio::test]
async fn a_feed_that_breaks_is_seen_to_break() {
    let halves = page(&[(1, "a"), (2, HIDDEN)], 2, 9);
    let (begun, _) = halves.split_at(60);
    // The connection breaks; what comes is no feed; another page is refused; it cannot be asked for.
    for then in ["close", "junk", "refuse", "end"] {
        let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
        client.ask("GET", "/todo/_changes?limit=2", V2).await;
        let mut couch = upstream.accept().await;
        couch.head().await;
        begin(&mut couch).await;
        match then {
            "close" => chunk(&mut couch, begun).await,
            "end" => {
                chunk(&mut couch, begun).await;
                couch.send("0\r\n\r\n").await;
            }
            "junk" => chunk(&mut couch, &halves.replace("\"id\":\"a\"", "\"di\":\"a\"")).await,
            _ => {
                chunk(&mut couch, &halves).await;
                couch.send("0\r\n\r\n").await;
                couch.head().await;
                couch.answer("401 Unauthorized", "", "{}").await;
            }
        }
        drop(couch);
        let mut came = Vec::new();
        soon(client.stream.read_to_end(&mut came)).await.unwrap();
        let came = String::from_utf8(came).unwrap();
        assert!(!came.ends_with("0\r\n\r\n"), "{then}: {came}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_feed_along() {
    let (mut client, _proxy, upstream) = todo(Changes::Rows).await;
    client
        .ask("GET", "/todo/_changes?feed=continuous&heartbeat=true", V2)
        .await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    begin(&mut couch).await;
    client.head().await;
    drop(client);
    couch.closed().await;
}

/// What reaches the upstream when a client of version 2 asks so.
async fn forwarded(changes: Changes, method: &str, target: &str, body: Option<&str>) -> (Head, String) {
    let (mut client, _proxy, upstream) = todo(changes).await;
    match body {
        Some(body) => client.ask_with(method, target, V2, body).await,
        None => client.ask(method, target, V2).await,
    }
    upstream.accept().await.message().await
}

#[tokio::test]
async fn a_list_of_ids_loses_the_hidden_ones() {
    for changes in [Changes::Rows, Changes::Selector] {
        let posted = r#"{"x":1.0,"doc_ids":["a","todo-item:a:v:1","todo-item:\u0061:v:1","todo-item:a:v:2"]}"#;
        let (head, body) = forwarded(changes, "POST", "/todo/_changes?filter=_doc_ids", Some(posted)).await;
        assert_eq!(head.line, "POST /todo/_changes?filter=_doc_ids HTTP/1.1");
        assert_eq!(body, r#"{"doc_ids":["a","todo-item:a:v:2"],"x":1.0}"#);

        let target = "/todo/_changes?doc_ids=%5B%22a%22,%22todo-item:a:v:1%22]&filter=_doc_ids&doc_ids=%5B%22todo-item:b:v:1%22%5D";
        for method in ["GET", "HEAD"] {
            let (head, _) = forwarded(changes, method, target, None).await;
            assert_eq!(
                head.line,
                format!("{method} /todo/_changes?filter=_doc_ids&doc_ids=%5B%22a%22%5D HTTP/1.1")
            );
        }
        // More than a selector may have.
        let many: Vec<String> = (0..60_000).map(|n| format!("todo-item:{n:09}:v:2")).collect();
        let posted = json!({ "doc_ids": many }).to_string();
        let (_, body) = forwarded(changes, "POST", "/todo/_changes?filter=_doc_ids", Some(&posted)).await;
        assert_eq!(body.len(), posted.len());
    }
}

#[tokio::test]
async fn what_is_no_list_of_ids_is_refused_as_couchdb_does() {
    let no_list = "`doc_ids` filter parameter is not a list of doc ids.";
    for (target, body, reason) in [
        ("&doc_ids=%5B", None, "invalid UTF-8 JSON"),
        ("&doc_ids=%5B1%5D", None, no_list),
        ("", Some(""), "invalid UTF-8 JSON"),
        ("", Some("{"), "invalid UTF-8 JSON"),
        ("", Some("{}"), no_list),
        ("", Some(r#"{"doc_ids":"a"}"#), no_list),
    ] {
        let (mut client, _proxy, _upstream) = todo(Changes::Rows).await;
        let target = format!("/todo/_changes?filter=_doc_ids{target}");
        match body {
            Some(body) => client.ask_with("POST", &target, V2, body).await,
            None => client.ask("GET", &target, V2).await,
        }
        let (head, body) = client.message().await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (head.status(), body),
            (400, json!({ "error": "bad_request", "reason": reason }))
        );
    }
}

#[tokio::test]
async fn what_hides_nothing_or_is_none_of_a_feed_passes() {
    for changes in [Changes::Rows, Changes::Selector] {
        for (method, target) in [
            ("GET", "/todo/_changes?filter=_design"),
            ("GET", "/todo/_changes?filter=_none"),
            ("GET", "/todo/_changes?feed=bogus&filter=_selector"),
            ("DELETE", "/todo/_changes"),
            ("HEAD", "/todo/_changes?filter=app%2Fkind"),
        ] {
            let (head, _) = forwarded(changes, method, target, None).await;
            assert_eq!(head.line, format!("{method} {target} HTTP/1.1"));
        }
    }
}
