//! What the proxy does not look into goes through it as if it were not there.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{Running, Scripted, settings, soon};
use tokio::{io::AsyncReadExt, net::TcpStream};

#[tokio::test]
async fn a_request_goes_through_as_it_was_spelt() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut client = proxy.connect().await;

    client
        .ask(
            "GET",
            "//db/%61%2Fb/?x=%22&y=a+b",
            "accept: */*\r\nx-couch-request-id: abc\r\n",
        )
        .await;
    let mut couch = upstream.accept().await;
    let request = couch.head().await;
    assert_eq!(request.line, "GET //db/%61%2Fb/?x=%22&y=a+b HTTP/1.1");
    assert_eq!(request.get("host"), Some(upstream.address.to_string().as_str()));
    assert_eq!(request.get("x-couch-request-id"), Some("abc"));
    assert_eq!(request.get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.get("x-forwarded-host"), Some("todo.example"));
    assert_eq!(request.get("x-forwarded-proto"), Some("http"));
    assert_eq!(request.get("content-length"), None);

    couch
        .answer(
            "200 OK",
            "etag: \"1-a\"\r\nx-couch-request-id: abc\r\nserver: CouchDB\r\n",
            "{}\n",
        )
        .await;
    let (answer, body) = client.message().await;
    assert_eq!(answer.line, "HTTP/1.1 200 OK");
    assert_eq!(answer.get("etag"), Some("\"1-a\""));
    assert_eq!(answer.get("server"), Some("CouchDB"));
    assert_eq!(answer.get("x-couch-request-id"), Some("abc"));
    assert_eq!(body, "{}\n");
}

#[tokio::test]
async fn connections_are_kept_alive_on_both_sides() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut client = proxy.connect().await;
    client.ask("GET", "/one", "").await;
    let mut couch = upstream.accept().await;
    for (target, next) in [("/one", "/two"), ("/two", "/three"), ("/three", "/four")] {
        assert_eq!(couch.head().await.line, format!("GET {target} HTTP/1.1"));
        couch.answer("200 OK", "", target).await;
        assert_eq!(client.message().await.1, target);
        client.ask("GET", next, "").await;
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_not_missed() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut client = proxy.connect().await;
    for _ in 0..20 {
        // The proxy may or may not have noticed yet: the request is sent again on a new connection.
        client.ask_with("POST", "/db/_bulk_get", "", "{}").await;
        let mut couch = upstream.accept().await;
        assert_eq!(couch.message().await.1, "{}");
        couch.answer("200 OK", "", "{}").await;
        drop(couch);
        assert_eq!(client.message().await.0.status(), 200);
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_its_request_keeps_nobody_waiting() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut uploading = proxy.connect().await;
    uploading.ask("PUT", "/db/doc/file", "content-length: 10\r\n").await;
    uploading.send("half ").await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    assert_eq!(couch.exactly(5).await, b"half ");
    couch.answer("401 Unauthorized", "", "{}").await;
    assert_eq!(uploading.message().await.0.status(), 401);
    // That connection is still busy with the upload.
    let mut client = proxy.connect().await;
    client.ask("GET", "/db/doc", "").await;
    let mut other = upstream.accept().await;
    assert_eq!(other.head().await.line, "GET /db/doc HTTP/1.1");
}

#[tokio::test]
async fn what_belongs_to_one_hop_goes_no_further() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut client = proxy.connect().await;
    let hop = "connection: keep-alive, x-hop\r\nx-hop: 1\r\nkeep-alive: 9\r\nx-stays: 2\r\n";
    client
        .ask(
            "GET",
            "/",
            &format!("{hop}upgrade: h2c\r\nx-forwarded-for: 10.0.0.1\r\n"),
        )
        .await;
    let mut couch = upstream.accept().await;
    let request = couch.head().await;
    for gone in ["connection", "x-hop", "keep-alive", "upgrade"] {
        assert_eq!(request.get(gone), None, "{gone}");
    }
    assert_eq!(request.get("x-stays"), Some("2"));
    // A client may claim any address before its own.
    assert_eq!(request.all("x-forwarded-for"), ["10.0.0.1, 127.0.0.1"]);

    couch.answer("200 OK", hop, "").await;
    let answer = client.head().await;
    for gone in ["connection", "x-hop", "keep-alive"] {
        assert_eq!(answer.get(gone), None, "{gone}");
    }
    assert_eq!(answer.get("x-stays"), Some("2"));
}

#[tokio::test]
async fn chunks_go_through_as_they_come() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut client = proxy.connect().await;
    client
        .ask("PUT", "/db/doc/file", "transfer-encoding: chunked\r\n")
        .await;
    client.send("3\r\nabc\r\n").await;
    let mut couch = upstream.accept().await;
    let request = couch.head().await;
    assert_eq!(request.get("transfer-encoding"), Some("chunked"));
    assert_eq!(request.get("content-length"), None);
    assert_eq!(couch.chunk().await, b"abc");
    client.send("2\r\nde\r\n0\r\n\r\n").await;
    assert_eq!(couch.chunk().await, b"de");
    assert!(couch.chunk().await.is_empty());

    couch
        .send("HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n1\r\n\n\r\n")
        .await;
    assert_eq!(client.head().await.get("transfer-encoding"), Some("chunked"));
    assert_eq!(client.chunk().await, b"\n");
    couch.send("2\r\n{}\r\n0\r\n\r\n").await;
    assert_eq!(client.chunk().await, b"{}");
    assert!(client.chunk().await.is_empty());
}

#[tokio::test]
async fn no_request_is_smuggled_in_another() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut client = proxy.connect().await;
    let both = "content-length: 4\r\ntransfer-encoding: chunked\r\n";
    client.ask("PUT", "/db/doc/file", both).await;
    client.send("5\r\nhello\r\n0\r\n\r\n").await;
    let mut couch = upstream.accept().await;
    let (head, body) = couch.message().await;
    assert_eq!((head.get("content-length"), body.as_str()), (None, "hello"));
    couch.answer("201 Created", "", "").await;
    assert_eq!(client.message().await.0.status(), 201);

    for ambiguous in [
        "content-length: 4\r\ncontent-length: 5\r\n",
        "transfer-encoding: chunked, identity\r\n",
    ] {
        let mut client = proxy.connect().await;
        client.ask("PUT", "/db/doc/file", ambiguous).await;
        assert_eq!(client.head().await.status(), 400, "{ambiguous}");
    }
}

#[tokio::test]
async fn trailers_go_through() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut client = proxy.connect().await;
    client.ask("GET", "/", "te: trailers\r\nconnection: te\r\n").await;
    let mut couch = upstream.accept().await;
    assert_eq!(couch.head().await.get("te"), Some("trailers"));
    couch
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n1\r\na\r\n0\r\nx-sum: 7\r\n\r\n")
        .await;
    assert_eq!(
        client
            .until("\r\n\r\n1\r\na\r\n")
            .await
            .matches("trailer: x-sum")
            .count(),
        1
    );
    assert_eq!(client.until("\r\n\r\n").await, "0\r\nx-sum: 7\r\n\r\n");
}

#[tokio::test]
async fn a_client_is_told_to_continue_when_its_body_is_wanted() {
    let upstream = Scripted::listen().await;
    let proxy = Running::with(settings(), &upstream.url()).await;
    let mut client = proxy.connect().await;
    client
        .ask("PUT", "/todo/doc/file", "expect: 100-continue\r\ncontent-length: 5\r\n")
        .await;
    let mut couch = upstream.accept().await;
    assert_eq!(couch.head().await.get("expect"), None);
    assert_eq!(client.head().await.line, "HTTP/1.1 100 Continue");
    client.send("hello").await;
    assert_eq!(couch.exactly(5).await, b"hello");
    couch.answer("201 Created", "", "{}").await;
    assert_eq!(client.message().await.0.line, "HTTP/1.1 201 Created");

    // Whoever is refused need not send it.
    let mut client = proxy.connect().await;
    client
        .ask(
            "PUT",
            "/todo/doc",
            "app-version: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n",
        )
        .await;
    assert_eq!(client.head().await.status(), 400);
}

#[tokio::test]
async fn a_head_keeps_its_length_and_a_304_its_etag() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut client = proxy.connect().await;
    client.ask("HEAD", "/db/doc", "").await;
    let mut couch = upstream.accept().await;
    assert_eq!(couch.head().await.line, "HEAD /db/doc HTTP/1.1");
    couch
        .send("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\netag: \"1-a\"\r\n\r\n")
        .await;
    assert_eq!(client.head().await.get("content-length"), Some("1234"));

    client.ask("GET", "/db/doc", "if-none-match: \"1-a\"\r\n").await;
    assert_eq!(couch.head().await.get("if-none-match"), Some("\"1-a\""));
    couch.send("HTTP/1.1 304 Not Modified\r\netag: \"1-a\"\r\n\r\n").await;
    let answer = client.head().await;
    assert_eq!((answer.status(), answer.get("etag")), (304, Some("\"1-a\"")));
    // Nothing of a body is between the two.
    client.ask("GET", "/db/next", "").await;
    assert_eq!(couch.head().await.line, "GET /db/next HTTP/1.1");
}

#[tokio::test]
async fn locations_and_cookies_suit_the_client() {
    let upstream = Scripted::listen().await;
    let proxy = Running::with(settings(), &format!("{}/couch", upstream.url())).await;
    let mut client = proxy.connect().await;
    client.ask("PUT", "/db", "").await;
    let mut couch = upstream.accept().await;
    assert_eq!(couch.head().await.line, "PUT /couch/db HTTP/1.1");
    let location = format!("location: {}/couch/db\r\n", upstream.url());
    couch
        .answer(
            "201 Created",
            &format!("{location}set-cookie: a=1; Path=/\r\nset-cookie: b=2\r\n"),
            "",
        )
        .await;
    let answer = client.head().await;
    assert_eq!(answer.get("location"), Some("http://todo.example/db"));
    assert_eq!(answer.all("set-cookie"), ["a=1; Path=/", "b=2"]);
}

#[tokio::test]
async fn http_2_is_spoken_to_those_who_begin_with_it() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let request = |path: &str| {
        let request = Request::get(format!("http://todo.example{path}")).version(Version::HTTP_2);
        request
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    // Two at once: the second does not wait for the first.
    let first = tokio::spawn(sender.send_request(request("/one")));
    let mut one = upstream.accept().await;
    let head = one.head().await;
    assert_eq!(head.line, "GET /one HTTP/1.1");
    assert_eq!(head.get("x-forwarded-host"), Some("todo.example"));
    assert_eq!(head.all("cookie"), ["a=1; b=2"]);
    let second = tokio::spawn(sender.send_request(request("/two")));
    let mut two = upstream.accept().await;
    assert_eq!(two.head().await.line, "GET /two HTTP/1.1");
    two.answer("200 OK", "connection: keep-alive\r\n", "2").await;
    let answer = soon(second).await.unwrap().unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "2");
    one.answer("200 OK", "", "1").await;
    assert_eq!(
        soon(first)
            .await
            .unwrap()
            .unwrap()
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes(),
        "1"
    );
    drop(connection);
}

#[tokio::test]
async fn an_old_client_is_answered_in_its_version() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut client = proxy.connect().await;
    client.send("GET /db/doc HTTP/1.0\r\n\r\n").await;
    let mut couch = upstream.accept().await;
    assert_eq!(couch.head().await.line, "GET /db/doc HTTP/1.1");
    couch
        .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
        .await;
    let answer = client.head().await;
    assert_eq!(
        (answer.line.as_str(), answer.get("transfer-encoding")),
        ("HTTP/1.0 200 OK", None)
    );
    assert_eq!(client.exactly(2).await, b"{}");
    client.closed().await;
}

/// What may lie between two ends: the buffers of four sockets and of the proxy.
const IN_FLIGHT: u64 = 40 << 20;
const LONG: u64 = 200 << 20;

#[tokio::test]
async fn a_long_answer_waits_for_its_reader() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut client = proxy.connect().await;
    client.ask("GET", "/db/doc/film", "").await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    couch
        .send(format!("HTTP/1.1 200 OK\r\ncontent-length: {LONG}\r\n\r\n"))
        .await;
    assert_eq!(
        client.head().await.get("content-length"),
        Some(LONG.to_string().as_str())
    );
    pour(couch, client).await;
}

#[tokio::test]
async fn a_long_upload_waits_for_its_reader() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut client = proxy.connect().await;
    client
        .ask("PUT", "/db/doc/film", &format!("content-length: {LONG}\r\n"))
        .await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    pour(client, couch).await;
}

/// Sends as fast as it goes; reads as slowly as a reader may, and looks how much is on its way.
async fn pour(mut from: support::Wire, mut to: support::Wire) {
    let sent = Arc::new(AtomicU64::new(0));
    let sending = {
        let sent = sent.clone();
        tokio::spawn(async move {
            let block = vec![b'x'; 1 << 16];
            while sent.load(Ordering::Relaxed) < LONG {
                from.send(&block).await;
                sent.fetch_add(block.len() as u64, Ordering::Relaxed);
            }
            from
        })
    };
    let (mut read, mut most) = (to.rest().len() as u64, 0);
    let mut block = vec![0; 1 << 14];
    while read < LONG {
        // The sender has every chance to run ahead.
        tokio::task::yield_now().await;
        most = most.max(sent.load(Ordering::Relaxed).saturating_sub(read));
        read += soon(to.stream.read(&mut block)).await.unwrap() as u64;
    }
    soon(sending).await.unwrap();
    assert_eq!(read, LONG);
    assert!(most < IN_FLIGHT, "{} MiB were on their way", most >> 20);
}

#[tokio::test]
async fn an_upstream_that_is_down_is_a_bad_gateway() {
    let nobody = Scripted::listen().await;
    let url = nobody.url();
    drop(nobody);
    let proxy = Running::with(settings(), &url).await;
    let mut client = proxy.connect().await;
    client.ask("GET", "/db/doc", "").await;
    let (answer, body) = client.message().await;
    assert_eq!(
        (answer.status(), answer.get("content-type")),
        (502, Some("application/json"))
    );
    assert_eq!(
        body,
        "{\"error\":\"bad_gateway\",\"reason\":\"the upstream cannot be reached\"}\n"
    );
    // The client's connection is none the worse for it.
    client.ask("GET", "/db/doc", "").await;
    assert_eq!(client.message().await.0.status(), 502);
}

#[tokio::test]
async fn an_upstream_that_breaks_off_is_a_bad_gateway_or_a_cut_body() {
    let upstream = Scripted::listen().await;
    let proxy = Running::before(&upstream).await;
    let mut client = proxy.connect().await;
    client.ask("GET", "/db/doc", "").await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    drop(couch);
    let (answer, body) = client.message().await;
    assert_eq!(answer.status(), 502);
    assert_eq!(
        body,
        "{\"error\":\"bad_gateway\",\"reason\":\"the upstream broke off its answer\"}\n"
    );

    client.ask("GET", "/db/doc", "").await;
    let mut couch = upstream.accept().await;
    couch.head().await;
    couch.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    drop(couch);
    client.head().await;
    assert_eq!(client.exactly(4).await, b"half");
    client.closed().await;
}

#[tokio::test]
async fn an_https_upstream_is_spoken_to_in_tls() {
    let upstream = Scripted::listen().await;
    let proxy = Running::with(settings(), &format!("https://{}", upstream.address)).await;
    let mut client = proxy.connect().await;
    client.ask("GET", "/db/doc", "").await;
    let mut couch = upstream.accept().await;
    // A handshake record; whoever does not answer it with one is no upstream.
    assert_eq!(couch.exactly(1).await, [0x16]);
    couch.send("HTTP/1.1 200 OK\r\n\r\n").await;
    assert_eq!(client.message().await.0.status(), 502);
}
