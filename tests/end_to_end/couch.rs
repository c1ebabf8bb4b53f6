//! What stands behind the proxies: a CouchDB, or the embedded store on a socket; and a way to it that is deadly for a proxy.

use std::{
    env,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
};

use chesterfield::{
    proxy::{Answer, Call, Databases, Passing, Proxy, Settings, Writes, respond::json, serve},
    upstream::{self, Body, Timeouts, Upstream, UpstreamService, body, embedded::Embedded},
};
use futures_util::future::{BoxFuture, pending};
use http::{Method, Request, StatusCode};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_util::sync::CancellationToken;
use tower::{Service, service_fn, util::BoxCloneSyncService};

/// The CouchDB to use instead of the embedded store.
pub fn url() -> Option<String> {
    let url = env::var("COUCHDB_URL").ok().filter(|url| !url.is_empty())?;
    Some(url.trim_end_matches('/').to_owned())
}

/// The same server as it is spoken to by clients, who need credentials where CouchDB does.
pub fn credited(server: &str) -> String {
    let url = url().unwrap_or_default();
    let credentials = url
        .split_once("://")
        .and_then(|(_, rest)| Some(rest.rsplit_once('@')?.0));
    match (credentials, server.split_once("://")) {
        (Some(credentials), Some((scheme, address))) => format!("{scheme}://{credentials}@{address}"),
        _ => server.to_owned(),
    }
}

/// A way to what stands behind the proxies.
pub struct Couch {
    address: SocketAddr,
    _runtime: Runtime,
}

/// Where a proxy dies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Before anything is carried.
    BeforeFanOut,
    /// When all is carried, but the write not yet answered.
    AfterFanOut,
}

/// Lets everything pass but what a proxy writes of its own account about something deadly: of that it tells, and never answers.
struct Deadly {
    upstream: Upstream,
    word: &'static str,
    death: Death,
    /// How often it strikes.
    left: AtomicUsize,
    tell: mpsc::Sender<()>,
}

impl Couch {
    /// A way on which nothing happens.
    pub fn open() -> Self {
        Self::behind(|upstream| Arc::new(Passing(upstream)))
    }

    /// A way on which who says that they only read may do nothing else, as before a CouchDB whose front lets nobody write.
    pub fn guarded() -> Self {
        Self::along(
            |service| {
                BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
                    let reads = matches!(*request.method(), Method::GET | Method::HEAD)
                        || ["/_changes", "/_bulk_get"]
                            .iter()
                            .any(|end| request.uri().path().ends_with(end));
                    let is_refused = request.headers().contains_key("x-reads-only") && !reads;
                    let answer = (!is_refused).then(|| service.clone().call(request));
                    async move {
                        match answer {
                            Some(answer) => answer.await,
                            None => Ok(json(
                                StatusCode::FORBIDDEN,
                                &serde_json::json!({"error": "forbidden", "reason": "read only"}),
                            )),
                        }
                    }
                }))
            },
            |upstream| Arc::new(Passing(upstream)),
        )
    }

    /// A way that is deadly the first times that the fan-out of an edit with this word in it passes; told to the receiver.
    pub fn deadly(word: &'static str, death: Death, times: usize) -> (Self, mpsc::Receiver<()>) {
        let (tell, told) = mpsc::channel();
        let way = Self::behind(|upstream| {
            Arc::new(Deadly {
                upstream,
                word,
                death,
                left: times.into(),
                tell,
            })
        });
        (way, told)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn behind(writes: impl FnOnce(Upstream) -> Arc<dyn Writes>) -> Self {
        Self::along(|service| service, writes)
    }

    fn along(
        wrap: impl FnOnce(UpstreamService) -> UpstreamService,
        writes: impl FnOnce(Upstream) -> Arc<dyn Writes>,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut upstream = match url() {
            Some(url) => upstream::http(&url, Timeouts::default()).unwrap(),
            None => Upstream {
                service: BoxCloneSyncService::new(Embedded::memory()),
                account: None,
                name: "embedded".to_owned(),
            },
        };
        upstream.service = wrap(upstream.service);
        let settings = Settings {
            databases: Databases::new(["*"]).unwrap(),
            ..Settings::default()
        };
        let proxy = Proxy::new(settings, upstream.clone(), writes(upstream)).unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, Arc::new(proxy), CancellationToken::new()));
        Self {
            address,
            _runtime: runtime,
        }
    }
}

impl Writes for Deadly {
    fn forward(&self, mut call: Call) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            // Clients say what they are; a proxy that speaks for itself does not.
            if call.parts.headers.contains_key("user-agent") {
                return Ok(self.upstream.send(call.into_request()).await?);
            }
            let posted = body::read(call.body, usize::MAX).await?;
            let is_deadly = String::from_utf8_lossy(&posted).contains(self.word)
                && self
                    .left
                    .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
                    .is_ok();
            call.body = body::full(posted);
            if is_deadly && self.death == Death::BeforeFanOut {
                return self.strike().await;
            }
            let answer = self.upstream.send(call.into_request()).await?;
            if is_deadly {
                return self.strike().await;
            }
            Ok(answer)
        })
    }
}

impl Deadly {
    async fn strike(&self) -> Answer {
        self.tell.send(()).unwrap();
        pending().await
    }
}
