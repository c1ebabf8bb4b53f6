//! Both ends of the proxy as raw sockets, so that a test reads as what goes over the wire.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use chesterfield::{
    proxy::{Databases, Passing, Proxy, Settings, Writes, serve},
    schema::{AppManifest, Apps, Class, ClassName, IdPattern, Manifest, Registry, Scope, pattern},
    upstream::{self, Timeouts, Upstream},
};
use semver::Version;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// Far longer than anything here takes: a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What should happen soon.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("nothing happened for a long time")
}

/// What version 2 of the todo app sees.
pub const SELECTOR: &str = r#"{"_id":{"$not":{"$regex":"(?s)^(?:todo\\-item:.+:v:1)\\z"}}}"#;

/// Version 1 sees everything, version 2 no longer what version 1 wrote.
pub fn todo_apps() -> Apps {
    scoped_todo_apps(Scope::All)
}

/// The same, with reads scoped.
pub fn scoped_todo_apps(scope: Scope) -> Apps {
    let class = |major: u64| {
        let name: ClassName = format!("todo-item@{major}").parse().unwrap();
        let pattern = IdPattern::new(pattern::DEFAULT, &name).unwrap();
        let version = Version::new(major, 0, 0);
        Class::new(name, version, pattern)
    };
    let registry = Arc::new(Registry::new(vec![class(1), class(2)], vec![]).unwrap());
    let app = |major: u64| {
        let manifest = json!({ "name": "todo-app", "version": format!("{major}.0.0"),
            "dependencies": { "todo-item": format!("^{major}") } });
        let manifest: Manifest = serde_json::from_value(manifest).unwrap();
        AppManifest::new(&registry, manifest, scope)
    };
    Apps::new([app(1), app(2)]).unwrap()
}

/// The todo app, on the database `todo`.
pub fn settings() -> Settings {
    Settings {
        databases: Databases::new(["todo"]).unwrap(),
        apps: todo_apps(),
        ..Settings::default()
    }
}

/// A proxy under test.
pub struct Running {
    pub address: SocketAddr,
    pub stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

/// An upstream whose every byte is written by the test.
pub struct Scripted {
    listener: TcpListener,
    pub address: SocketAddr,
}

/// One end of a connection.
pub struct Wire {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// The head of a message.
#[derive(Debug)]
pub struct Head {
    pub line: String,
    pub headers: Vec<(String, String)>,
}

impl Running {
    /// A proxy with default settings before this upstream.
    pub async fn before(upstream: &Scripted) -> Self {
        Self::with(Settings::default(), &upstream.url()).await
    }

    pub async fn with(settings: Settings, url: &str) -> Self {
        Self::start(settings, upstream::http(url, Timeouts::default()).unwrap()).await
    }

    pub async fn start(settings: Settings, upstream: Upstream) -> Self {
        let writes = Arc::new(Passing(upstream.clone()));
        Self::start_with(settings, upstream, writes).await
    }

    pub async fn start_with(settings: Settings, upstream: Upstream, writes: Arc<dyn Writes>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let proxy = Arc::new(Proxy::new(settings, upstream, writes).unwrap());
        let task: JoinHandle<()> = tokio::spawn(serve(listener, proxy, stop.clone()));
        Self {
            address,
            stop,
            task: AbortOnDropHandle::new(task),
        }
    }

    pub async fn connect(&self) -> Wire {
        Wire::new(soon(TcpStream::connect(self.address)).await.unwrap())
    }

    /// Waits for the server to end.
    pub async fn ended(self) {
        soon(self.task).await.unwrap();
    }
}

impl Scripted {
    pub async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next connection of the proxy.
    pub async fn accept(&self) -> Wire {
        Wire::new(soon(self.listener.accept()).await.unwrap().0)
    }
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// A request without a body; `headers` are lines, each ended by `\r\n`.
    pub async fn ask(&mut self, method: &str, target: &str, headers: &str) {
        self.send(format!(
            "{method} {target} HTTP/1.1\r\nhost: todo.example\r\n{headers}\r\n"
        ))
        .await;
    }

    /// A request with a JSON body.
    pub async fn ask_with(&mut self, method: &str, target: &str, headers: &str, body: &str) {
        let length = body.len();
        let head = format!("content-type: application/json\r\ncontent-length: {length}\r\n{headers}");
        self.ask(method, target, &head).await;
        self.send(body).await;
    }

    /// An answer with a body of known length.
    pub async fn answer(&mut self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        self.send(format!(
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        ))
        .await;
    }

    /// The head of the next message.
    pub async fn head(&mut self) -> Head {
        let text = self.until("\r\n\r\n").await;
        let mut lines = text.trim_end().split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Head {
            line,
            headers: lines.map(header).collect(),
        }
    }

    /// Head and body of the next message, whether its length is known or it is chunked.
    pub async fn message(&mut self) -> (Head, String) {
        let head = self.head().await;
        let body = match (head.get("content-length"), head.get("transfer-encoding")) {
            (Some(length), _) => self.exactly(length.parse().unwrap()).await,
            (None, Some("chunked")) => {
                let mut body = Vec::new();
                loop {
                    let chunk = self.chunk().await;
                    if chunk.is_empty() {
                        break body;
                    }
                    body.extend(chunk);
                }
            }
            _ => Vec::new(),
        };
        (head, String::from_utf8(body).unwrap())
    }

    /// One chunk of a chunked body; empty if it was the last.
    pub async fn chunk(&mut self) -> Vec<u8> {
        let size = self.until("\r\n").await;
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = self.exactly(size + 2).await;
        chunk.truncate(size);
        chunk
    }

    pub async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self
                .buffer
                .windows(end.len())
                .position(|window| window == end.as_bytes())
            {
                let rest = self.buffer.split_off(at + end.len());
                let text = std::mem::replace(&mut self.buffer, rest);
                return String::from_utf8(text).unwrap();
            }
            let came = soon(self.stream.read_buf(&mut self.buffer)).await.unwrap();
            assert!(came > 0, "closed after {:?}", String::from_utf8_lossy(&self.buffer));
        }
    }

    pub async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            let came = soon(self.stream.read_buf(&mut self.buffer)).await.unwrap();
            assert!(came > 0, "closed after {} of {length} bytes", self.buffer.len());
        }
        let rest = self.buffer.split_off(length);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// What was read beyond the last message.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Waits until the other end closes; what it still sends is the rest.
    pub async fn closed(&mut self) {
        while soon(self.stream.read_buf(&mut self.buffer))
            .await
            .is_ok_and(|came| came > 0)
        {}
    }
}

impl Head {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).unwrap().parse().unwrap()
    }
}
