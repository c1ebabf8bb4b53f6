//! Clients that take their time: what has begun and does not go on is ended.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use super::{
    database, delete, filled, peer, server,
    wire::{body, statuses},
};

/// All that comes back when nothing more is sent.
fn unfinished(address: &str, begun: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(begun).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn who_does_not_go_on_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), "timeouts: { body: 300ms, head: 300ms }\n");
    let proxy = peer(&server);
    let db = database(&proxy, "slow");
    for (line, headers, body_begun) in [
        // Held before it goes on, passed as it comes, read by nobody but CouchDB.
        ("PUT /{db}/todo-item:a:v:1", "Content-Length: 100", "{"),
        ("PUT /{db}/todo-item:a:v:1", "Transfer-Encoding: chunked", "1\r\n{\r\n"),
        ("POST /{db}/_bulk_docs", "Content-Length: 100000000", "{\"docs\":["),
        ("PUT /{db}/todo-item:a:v:1/file", "Content-Length: 100", "x"),
        ("PUT /{db}/plain", "Content-Length: 100", "{"),
        ("POST /{db}/_find", "Content-Length: 100", "{"),
    ] {
        let request = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{{auth}}{headers}\r\n\r\n{body_begun}"
        );
        let answer = unfinished(&server.url, &filled(request.as_bytes(), &proxy, &db));
        assert_eq!(
            statuses(&answer),
            [408],
            "{line}, {headers}: {}",
            String::from_utf8_lossy(&answer)
        );
        assert!(
            body(&answer).contains("\"request_timeout\""),
            "{line}: {}",
            body(&answer)
        );
    }
    // Half a head is no request yet.
    assert!(statuses(&unfinished(&server.url, b"GET / HTTP/1.1\r\nHost: x\r\nx: ")).is_empty());
    delete(&proxy, &db);
}
