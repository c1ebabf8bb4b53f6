//! What stands behind the proxy: one seam, a tower `Service` from request to response, and the two kinds that fill it.

use std::time::Duration;

use ::http::{HeaderValue, Request, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use tower::{Service, util::BoxCloneSyncService};

pub mod account;
pub mod body;
pub mod embedded;
pub mod http;
mod idle;
mod pool;

pub use self::http::{InvalidUrl, Timeouts, http};
pub use self::idle::client_was_silent;

/// Any error of a streaming body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A streaming body on either side of the proxy.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// The seam. A request's URI is in origin form (`/db/doc?x=y`), exactly as the client spelt it.
pub type UpstreamService = BoxCloneSyncService<Request<Body>, Response<Body>, Error>;

/// A CouchDB, or what stands for one.
#[derive(Clone)]
pub struct Upstream {
    /// Sends one request; cheap to clone.
    pub service: UpstreamService,
    /// The `Authorization` of the service account, for requests the proxy makes on its own behalf.
    pub account: Option<HeaderValue>,
    /// For people: the URL without its credentials, or `embedded (./data)`.
    pub name: String,
}

impl Upstream {
    /// Where it is reached, without credentials; none if it is inside the binary.
    pub fn url(&self) -> Option<&str> {
        Some(&*self.name).filter(|name| name.starts_with("http://") || name.starts_with("https://"))
    }

    /// Sends one request. A service of the seam is ready at any time: what has to wait, waits in the answer's future.
    pub fn send(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Error>> {
        self.service.clone().call(request)
    }

    /// Its answer cannot be gone on with.
    pub fn broken(&self, source: impl Into<BoxError>) -> Error {
        Error::Broken {
            name: self.name.clone(),
            source: source.into(),
        }
    }
}

/// A mark in a request's extensions: its answer may rightly stay silent for any time, so no idle timeout applies.
#[derive(Clone, Copy, Debug)]
pub struct LiveFeed;

/// No response came from the upstream.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The upstream could not be reached.
    #[error("the upstream {name} cannot be reached: {source}")]
    Unreachable {
        /// As [`Upstream::name`].
        name: String,
        /// What the transport said.
        source: BoxError,
    },
    /// Nothing came for longer than the idle timeout.
    #[error("the upstream {name} sent nothing for {after:?}")]
    TimedOut {
        /// As [`Upstream::name`].
        name: String,
        /// The idle timeout.
        after: Duration,
    },
    /// The connection broke.
    #[error("the upstream {name} did not answer: {source}")]
    Broken {
        /// As [`Upstream::name`].
        name: String,
        /// What the transport said.
        source: BoxError,
    },
}
