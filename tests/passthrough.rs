//! What the proxy does not look at goes through it as if it were not there.

mod support;

use support::{Running, Scripted};

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
