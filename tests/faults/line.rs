//! A device's way to a server. Its connections may be cut, by which the device never knows what has become of a request.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::stage::Asking;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Something did not come through; it is tried again.
#[derive(Debug)]
pub struct Lost(pub String);

pub struct Line {
    /// Of the database.
    url: String,
    headers: HeaderMap,
    client: Client<HttpConnector, Full<Bytes>>,
    cuts: Mutex<Cuts>,
}

/// How many requests of a hundred are cut off, and how many were.
pub struct Cuts {
    pub rate: u8,
    pub count: usize,
    rng: fastrand::Rng,
}

/// Where a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Within the request: in its body, if it has one.
    Request,
    /// When all of it is sent.
    Unread,
    /// Within the answer.
    Answer,
}

impl Cut {
    pub const ALL: [Self; 3] = [Self::Request, Self::Unread, Self::Answer];
}

/// A request to be sent.
pub struct Sending<'a> {
    pub method: &'a str,
    /// Below the database.
    pub path: &'a str,
    pub kind: &'a str,
    pub body: Bytes,
}

impl<'a> Sending<'a> {
    pub fn json(method: &'a str, path: &'a str, body: Option<Value>) -> Self {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        Self {
            method,
            path,
            kind: "application/json",
            body: body.into(),
        }
    }

    fn lost(&self, why: impl std::fmt::Display) -> Lost {
        Lost(format!("{} {}: {why}", self.method, self.path))
    }
}

impl Line {
    /// As this app; without one it declares nothing.
    pub fn new(to: &Asking, app: Option<String>, seed: u64) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let mut add = |name, value: Option<&str>| {
            headers.extend(value.map(|value| (name, HeaderValue::from_str(value).unwrap())));
        };
        add(header::AUTHORIZATION, to.authorization());
        add("app-version".parse().unwrap(), app.as_deref());
        Self {
            url: to.url(),
            headers,
            client: Client::builder(TokioExecutor::new()).build_http(),
            cuts: Mutex::new(Cuts {
                rate: 0,
                count: 0,
                rng: fastrand::Rng::with_seed(seed),
            }),
        }
    }

    pub fn cuts(&self) -> MutexGuard<'_, Cuts> {
        self.cuts.lock().unwrap()
    }

    /// Goes to another server from now on.
    pub fn go_to(&mut self, to: &Asking) {
        self.url = to.url();
        self.client = Client::builder(TokioExecutor::new()).build_http();
    }

    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<(StatusCode, Value), Lost> {
        self.send(&Sending::json(method, path, body)).await
    }

    /// Whatever breaks on the way is told as lost, and so are failures that are not the client's.
    pub async fn send(&self, sending: &Sending<'_>) -> Result<(StatusCode, Value), Lost> {
        let cut = self.cuts().drawn();
        if let Some((cut, place)) = cut {
            _ = tokio::time::timeout(PATIENCE, self.cut_off(sending, cut, place)).await;
            return Err(sending.lost("the connection was cut"));
        }
        let mut request = Request::builder()
            .method(sending.method)
            .uri(format!("{}/{}", self.url, sending.path));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request
            .header(header::CONTENT_TYPE, sending.kind)
            .body(Full::new(sending.body.clone()))
            .unwrap();
        let answered = async {
            let answer = self.client.request(request).await.map_err(|error| error.to_string())?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok::<_, String>((head.status, body))
        };
        let answered = tokio::time::timeout(PATIENCE, answered).await;
        let (status, body) = answered
            .unwrap_or_else(|_| Err("silence".into()))
            .map_err(|why| sending.lost(why))?;
        let is_failure =
            status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE);
        if is_failure {
            return Err(sending.lost(format_args!("{status} {}", String::from_utf8_lossy(&body))));
        }
        let parsed = serde_json::from_slice(&body).map_err(|error| sending.lost(error))?;
        Ok((status, parsed))
    }

    pub async fn expect(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Lost> {
        match self.ask(method, path, body).await? {
            (status, answer) if status.is_success() => Ok(answer),
            (status, answer) => Err(Lost(format!("{method} {path}: {status} {answer}"))),
        }
    }

    /// Answers when nothing more comes from here.
    pub async fn cut_off(&self, sending: &Sending<'_>, cut: Cut, place: usize) -> std::io::Result<()> {
        let (authority, base) = self.url.split_once("://").unwrap().1.split_once('/').unwrap();
        let mut head = format!(
            "{} /{base}/{} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: {}\r\ncontent-length: {}\r\n",
            sending.method,
            sending.path,
            sending.kind,
            sending.body.len()
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
        }
        head.push_str("\r\n");
        let whole = [head.as_bytes(), &sending.body].concat();
        let sent = match cut {
            Cut::Request if sending.body.is_empty() => place % whole.len(),
            Cut::Request => head.len() + place % sending.body.len(),
            Cut::Unread | Cut::Answer => whole.len(),
        };
        let mut wire = TcpStream::connect(authority).await?;
        wire.write_all(&whole[..sent]).await?;
        if cut == Cut::Answer {
            let mut some = vec![0; 1 + place % 256];
            // As much as comes first.
            _ = wire.read(&mut some).await?;
        }
        Ok(())
    }
}

impl Cuts {
    fn drawn(&mut self) -> Option<(Cut, usize)> {
        if self.rng.u8(..100) >= self.rate {
            return None;
        }
        self.count += 1;
        let cut = Cut::ALL[self.rng.usize(..3)];
        Some((cut, self.rng.usize(..4096)))
    }
}
