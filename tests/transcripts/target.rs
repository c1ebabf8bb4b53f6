//! Where the requests go: into the store in this process, or over a socket.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use chesterfield::upstream::{Body, BoxError, UpstreamService, embedded::Embedded};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tower::ServiceExt;

use crate::record::Exchange;

/// How long a feed may say nothing new before the replay leaves it.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Target {
    service: UpstreamService,
    /// Of a real server: its administrator.
    admin: Option<(String, String)>,
    host: String,
    cookie: String,
}

/// A request, its made-up values replaced by the target's own.
pub struct Adapted {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Target {
    pub fn embedded(embedded: Embedded) -> Self {
        Self {
            service: UpstreamService::new(embedded),
            admin: None,
            host: String::new(),
            cookie: String::new(),
        }
    }

    pub fn server(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (credentials, host) = rest
            .trim_end_matches('/')
            .split_once('@')
            .expect("credentials in the URL");
        let (name, password) = credentials.split_once(':').expect("a name and a password");
        let base = format!("{scheme}://{host}");
        let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
        let service = tower::service_fn(move |mut request: Request<Body>| {
            let (client, base) = (client.clone(), base.clone());
            async move {
                *request.uri_mut() = format!("{base}{}", request.uri()).parse::<Uri>().unwrap();
                let response =
                    client
                        .request(request)
                        .await
                        .map_err(|error| chesterfield::upstream::Error::Unreachable {
                            name: base.clone(),
                            source: error.into(),
                        })?;
                Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
            }
        });
        let admin = Some((name.to_owned(), password.to_owned()));
        Self {
            service: UpstreamService::new(service),
            admin,
            host: host.to_owned(),
            cookie: String::new(),
        }
    }

    pub async fn send(&mut self, exchange: &Exchange, adapted: &Adapted) -> Answer {
        let response = self
            .call(
                &exchange.request.method,
                &adapted.path,
                &adapted.headers,
                adapted.body.clone(),
            )
            .await;
        let (parts, body) = response.into_parts();
        let cookie = parts
            .headers
            .get("set-cookie")
            .and_then(|c| c.to_str().ok())
            .and_then(|c| c.split(';').next());
        if let Some(cookie) = cookie.filter(|cookie| cookie.len() > "AuthSession=".len()) {
            self.cookie = cookie.to_owned();
        }
        let body = self.read(exchange, body).await;
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    /// The body, or of a feed that would go on as much as was recorded.
    async fn read(&mut self, exchange: &Exchange, mut body: Body) -> Vec<u8> {
        let mut received = Vec::new();
        let mut during = exchange.during.as_ref();
        let recorded = exchange.response.bytes();
        let stops = exchange.response.stopped.as_deref().is_some_and(|why| why != "closed");
        let lines = |text: &[u8]| text.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count();
        while !(stops && lines(&received) >= lines(&recorded) && received.contains(&b'\n')) {
            // A feed says a newline as soon as it stands: then it is time for the write that wakes it.
            match tokio::time::timeout(PATIENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => received.extend(frame.into_data().unwrap_or_default()),
                Ok(Some(Err(error))) => panic!("{}: the answer broke off: {error}", exchange.n),
                Ok(None) | Err(_) => break,
            }
            if let Some(write) = during.filter(|_| lines(&received) > 0 || received.contains(&b'\n')) {
                during = None;
                let headers = [("Authorization", "Basic <admin>"), ("Content-Type", "application/json")];
                let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
                let body = write.body.clone().map(String::into_bytes);
                let response = self.call(&write.method, &write.path, &headers, body).await;
                assert!(response.status().is_success(), "{}: the write failed", exchange.n);
            }
        }
        received
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Option<Vec<u8>>,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            if let Some(value) = self.header(name, value) {
                request = request.header(name, value);
            }
        }
        let body = body.map(|body| self.with_credentials(body));
        let length = body.as_ref().map(Vec::len);
        request = length
            .into_iter()
            .fold(request, |request, length| request.header("content-length", length));
        let body = Full::new(Bytes::from(body.unwrap_or_default()))
            .map_err(|e| match e {})
            .boxed_unsync();
        self.service.clone().oneshot(request.body(body).unwrap()).await.unwrap()
    }

    /// Bodies that log in, or name databases by URL.
    fn with_credentials(&self, body: Vec<u8>) -> Vec<u8> {
        let (Some((name, password)), Ok(text)) = (&self.admin, str::from_utf8(&body)) else {
            return body;
        };
        let text = text
            .replace("<admin-password>", password)
            .replace("name=admin&", &format!("name={name}&"));
        let text = text.replace("<admin>@127.0.0.1:5984", &format!("{name}:{password}@{}", self.host));
        text.replace("//127.0.0.1:5984", &format!("//{}", self.host))
            .into_bytes()
    }

    /// `None`: the transport sets it itself.
    fn header(&self, name: &str, value: &str) -> Option<String> {
        let basic = |credentials: String| Some(format!("Basic {}", BASE64_STANDARD.encode(credentials)));
        match (name, value) {
            ("Transfer-Encoding" | "Expect", _) => None,
            ("Authorization", "Basic <admin>") => {
                let (name, password) = self.admin.as_ref()?;
                basic(format!("{name}:{password}"))
            }
            ("Authorization", "Basic <tr_alice>") => basic("tr_alice:tr-alice-pw".to_owned()),
            ("Authorization", wrong) if wrong.ends_with(", wrong password>") => {
                let name = wrong
                    .trim_start_matches("Basic <")
                    .trim_end_matches(", wrong password>");
                basic(format!("{name}:wrong"))
            }
            ("Cookie", _) => Some(self.cookie.clone()),
            (_, value) => Some(value.to_owned()),
        }
    }

    /// Nothing of an earlier replay is left on the server.
    pub async fn clean(&mut self) {
        let admin = [("Authorization".to_owned(), "Basic <admin>".to_owned())];
        let response = self.call("GET", "/_all_dbs", &admin, None).await;
        let names: Vec<String> = serde_json::from_slice(&response.collect().await.unwrap().to_bytes()).unwrap();
        for name in names.iter().filter(|name| name.starts_with("tr_")) {
            let path = format!("/{}", name.replace('/', "%2F"));
            self.call("DELETE", &path, &admin, None).await;
        }
        for doc in ["/_users/org.couchdb.user:tr_alice", "/_replicator/tr_job"] {
            let response = self.call("HEAD", doc, &admin, None).await;
            if let Some(etag) = response.headers().get("etag").and_then(|e| e.to_str().ok()) {
                let path = format!("{doc}?rev={}", etag.trim_matches('"'));
                self.call("DELETE", &path, &admin, None).await;
            }
        }
    }
}
