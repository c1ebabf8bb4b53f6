//! Kept-alive HTTP/1.1 connections to one upstream: a request takes one, the end of its answer gives it back.
//!
//! No task is spawned for a request and no key is looked up, as a pool for many hosts has to: that was a tenth of what
//! the proxy costs.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body as _, Frame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::http1::{Builder, SendRequest},
    rt::{Read, Write},
};
use tokio::time::Instant;
use tower::{Service, ServiceExt};

use super::{Body, BoxError};

/// Below CouchDB's own patience with idle connections (five minutes), so that it is rarely they who close them first.
const IDLE: Duration = Duration::from_secs(60);

/// Opens connections with `C`, a service from the upstream's URI to a stream.
#[derive(Clone)]
pub(super) struct Pool<C> {
    connector: C,
    uri: Uri,
    idle: Arc<Idle>,
}

/// The last one back is the first one out: the others may grow old.
#[derive(Default)]
struct Idle(Mutex<VecDeque<(SendRequest<Body>, Instant)>>);

/// Why there is no answer.
pub(super) enum Failure {
    /// No connection.
    Connect(BoxError),
    /// It broke.
    Broken(hyper::Error),
}

/// An answer's body. Dropped before its end it takes its connection along, which tells the upstream to stop.
pub(super) struct Lease {
    body: Incoming,
    connection: Option<(SendRequest<Body>, Arc<Idle>)>,
}

impl<C, S> Pool<C>
where
    C: Service<Uri, Response = S, Error: Into<BoxError>, Future: Send> + Clone + Send,
    S: Read + Write + Unpin + Send + 'static,
{
    pub(super) fn new(connector: C, uri: Uri) -> Self {
        Self {
            connector,
            uri,
            idle: Arc::default(),
        }
    }

    /// Sends a request in origin form, which says by its `Host` where it goes.
    pub(super) async fn send(&self, mut request: Request<Body>) -> Result<Response<Lease>, Failure> {
        // One that the upstream has just closed gives the request back unsent.
        while let Some(mut connection) = self.idle.take() {
            match connection.try_send_request(request).await {
                Ok(answer) => return Ok(self.lease(answer, connection)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Failure::Broken(error.into_error())),
                },
            }
        }
        let mut connection = self.connect().await?;
        let answer = connection.send_request(request).await.map_err(Failure::Broken)?;
        Ok(self.lease(answer, connection))
    }

    async fn connect(&self) -> Result<SendRequest<Body>, Failure> {
        let stream = self.connector.clone().oneshot(self.uri.clone()).await;
        let stream = stream.map_err(|error| Failure::Connect(error.into()))?;
        let handshake = Builder::new().writev(true).handshake(stream).await;
        let (mut sender, connection) = handshake.map_err(|error| Failure::Connect(error.into()))?;
        // Ends with the sender: there is one, and it lies in the pool or in a lease.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the upstream broke");
            }
        });
        sender.ready().await.map_err(Failure::Broken)?;
        Ok(sender)
    }

    fn lease(&self, answer: Response<Incoming>, connection: SendRequest<Body>) -> Response<Lease> {
        answer.map(|body| Lease {
            body,
            connection: Some((connection, self.idle.clone())),
        })
    }
}

impl Idle {
    fn take(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while idle.front().is_some_and(|(_, since)| now.duration_since(*since) > IDLE) {
            idle.pop_front();
        }
        // One that still sends a request its answer did not wait for is not ready yet.
        let mut busy = Vec::new();
        let mut ready = None;
        while let Some((connection, since)) = idle.pop_back() {
            if connection.is_ready() {
                ready = Some(connection);
                break;
            }
            if !connection.is_closed() {
                busy.push((connection, since));
            }
        }
        idle.extend(busy.into_iter().rev());
        ready
    }

    fn give(&self, connection: SendRequest<Body>) {
        if !connection.is_closed() {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back((connection, Instant::now()));
        }
    }
}

impl Lease {
    fn end(&mut self) {
        if let Some((connection, idle)) = self.connection.take() {
            idle.give(connection);
        }
    }
}

impl http_body::Body for Lease {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(None) = frame {
            this.end();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Whoever knows the length need not ask for the end.
        if self.body.is_end_stream() {
            self.end();
        }
    }
}
