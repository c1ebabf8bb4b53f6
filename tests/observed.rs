//! What a request leaves in logs: one span, complete, and nothing of a body.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::{
    io,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use support::{Running, Scripted, settings};
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_request_is_one_span() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(log.clone())
        .finish();
    // The test's runtime has one thread: everything the proxy does happens on it.
    let _guard = tracing::subscriber::set_default(subscriber);
    let upstream = Scripted::listen().await;
    let proxy = Running::with(settings(), &upstream.url()).await;
    let mut client = proxy.connect().await;
    client
        .ask_with(
            "PUT",
            "/todo/a",
            "app-version: todo-app@2.7.0\r\n",
            "{\"secret\":\"of the client\"}",
        )
        .await;
    let mut couch = upstream.accept().await;
    couch.message().await;
    couch
        .answer("201 Created", "", "{\"secret\":\"of the database\"}")
        .await;
    client.message().await;

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let spans: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(spans.len(), 1, "{log}");
    let expected = json!({
        "name": "request",
        "method": "PUT",
        "db": "todo",
        "route": "document",
        "app": "todo-app@2.0.0",
        "status": 201,
    });
    assert_eq!(spans[0]["span"], expected);
    assert!(!log.contains("secret"));
}
