//! Requests that the proxy makes on its own behalf, with the service account, and what is made of their answers.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::{
    Body, BoxError, LiveFeed, Upstream,
    body::{self, ReadError, full},
};

/// The database on the upstream in which proxies keep what they share: leases and parked entities. Nothing in it is migrated.
pub const DATABASE: &str = "chesterfield";

/// The most that is read of an answer that should be short.
pub const SHORT: usize = 1 << 20;

const JSON: &str = "application/json";

/// The upstream gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer.
    #[error(transparent)]
    Upstream(#[from] super::Error),
    /// Another status than asked for.
    #[error("{request} was answered {status}: {reason}")]
    Refused {
        /// `_bulk_get`, `_local/chesterfield`: what was asked for.
        request: &'static str,
        /// The answer's.
        status: StatusCode,
        /// The answer's body, cut short.
        reason: String,
    },
    /// An answer longer than what is read at once.
    #[error("{request} was answered with more than {limit} bytes")]
    TooLong {
        /// As above.
        request: &'static str,
        /// What would have been read.
        limit: usize,
    },
    /// An answer that does not parse, or broke off.
    #[error("{request} was answered with what cannot be read: {source}")]
    Unreadable {
        /// As above.
        request: &'static str,
        /// Why.
        source: BoxError,
    },
}

/// All but what never has to be encoded (RFC 3986, 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request to be made with the service account.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What errors call it: `_bulk_get`.
    name: &'static str,
    method: Method,
    /// In origin form, percent-encoded: `/todos/_bulk_get?revs=true`.
    path: String,
    /// JSON.
    body: Option<Bytes>,
    /// The most that is read of the answer, in bytes.
    limit: usize,
    is_live: bool,
}

/// An answer that was read whole.
#[derive(Clone, Debug)]
pub struct Reply {
    name: &'static str,
    /// Whatever it is.
    pub status: StatusCode,
    /// Whatever came with it.
    pub body: Bytes,
}

/// The path of a database, or of what lies in it: each part is percent-encoded and stands behind a slash of its own.
pub fn path<const N: usize>(parts: [&str; N]) -> String {
    let parts = parts.map(|part| format!("/{}", utf8_percent_encode(part, RESERVED)));
    parts.concat()
}

/// Percent-encodes a value in a query.
pub fn encoded(value: &str) -> String {
    utf8_percent_encode(value, RESERVED).to_string()
}

impl Ask {
    /// `path` is in origin form and percent-encoded, with its query: see [`path`]; `name` is what errors call it.
    pub fn new(method: Method, name: &'static str, path: impl Into<String>) -> Self {
        Self {
            name,
            method,
            path: path.into(),
            body: None,
            limit: SHORT,
            is_live: false,
        }
    }

    /// Sends JSON.
    pub fn with(self, body: impl Into<Bytes>) -> Self {
        let body = Some(body.into());
        Self { body, ..self }
    }

    /// Reads no more than this of the answer, in bytes; [`SHORT`] if it is not said.
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Its answer may rightly stay silent for long.
    pub fn live(self) -> Self {
        Self { is_live: true, ..self }
    }

    /// Sends it and reads the answer whole, whatever its status is.
    pub async fn send(mut self, upstream: &Upstream) -> Result<Reply, Error> {
        let sent = self.body.take().map(|json| {
            let length = json.len() as u64;
            (HeaderValue::from_static(JSON), length, full(json))
        });
        self.exchange(upstream, sent).await
    }

    /// The same, with a body of so many bytes that is not held.
    pub async fn upload(self, upstream: &Upstream, kind: HeaderValue, length: u64, body: Body) -> Result<Reply, Error> {
        self.exchange(upstream, Some((kind, length, body))).await
    }

    /// Asks for what is no JSON, in this encoding; the answer's body is not read.
    pub async fn open(self, upstream: &Upstream, encoding: HeaderValue) -> Result<Response<Body>, Error> {
        let request = self.request(upstream).header(header::ACCEPT_ENCODING, encoding);
        let request = request.body(body::empty()).map_err(|error| self.unreadable(error))?;
        Ok(upstream.send(request).await?)
    }

    fn request(&self, upstream: &Upstream) -> request::Builder {
        let mut request = Request::builder().method(self.method.clone()).uri(&self.path);
        if let Some(account) = &upstream.account {
            request = request.header(header::AUTHORIZATION, account);
        }
        if self.is_live {
            request = request.extension(LiveFeed);
        }
        request
    }

    fn unreadable(&self, source: impl Into<BoxError>) -> Error {
        Error::Unreadable {
            request: self.name,
            source: source.into(),
        }
    }

    async fn exchange(self, upstream: &Upstream, sent: Option<(HeaderValue, u64, Body)>) -> Result<Reply, Error> {
        let request = self
            .request(upstream)
            .header(header::ACCEPT, HeaderValue::from_static(JSON));
        let request = match sent {
            Some((kind, length, body)) => request
                .header(header::CONTENT_TYPE, kind)
                .header(header::CONTENT_LENGTH, length)
                .body(body),
            None => request.body(body::empty()),
        };
        let request = request.map_err(|error| self.unreadable(error))?;
        let (head, body) = upstream.send(request).await?.into_parts();
        let body = body::read(body, self.limit).await.map_err(|error| match error {
            ReadError::TooLong(limit) => Error::TooLong {
                request: self.name,
                limit,
            },
            broken => self.unreadable(broken),
        })?;
        Ok(Reply {
            name: self.name,
            status: head.status,
            body,
        })
    }
}

impl Reply {
    /// The same, if its status is one of these.
    pub fn expect(self, statuses: &[StatusCode]) -> Result<Self, Error> {
        if statuses.contains(&self.status) {
            Ok(self)
        } else {
            Err(self.refused())
        }
    }

    /// What it says, as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|source| Error::Unreadable {
            request: self.name,
            source: source.into(),
        })
    }

    /// An answer that is none, with its first words.
    pub fn refused(&self) -> Error {
        let reason = String::from_utf8_lossy(&self.body[..self.body.len().min(300)])
            .trim()
            .to_owned();
        Error::Refused {
            request: self.name,
            status: self.status,
            reason,
        }
    }
}

/// Makes sure that [`DATABASE`] is there, for admins alone, whatever the server gives to new databases.
///
/// Fails with [`Error::Refused`] where the service account is no server admin and nobody else has made it.
pub async fn ensure_database(upstream: &Upstream) -> Result<(), Error> {
    let at = path([DATABASE]);
    let there = Ask::new(Method::GET, DATABASE, &*at).send(upstream).await?;
    if there.status != StatusCode::NOT_FOUND {
        there.expect(&[StatusCode::OK])?;
        return Ok(());
    }
    // A few hundred short documents: more shards would only cost.
    let made = Ask::new(Method::PUT, DATABASE, format!("{at}?q=1"))
        .send(upstream)
        .await?;
    // 412: somebody else has just made it.
    made.expect(&[
        StatusCode::CREATED,
        StatusCode::ACCEPTED,
        StatusCode::PRECONDITION_FAILED,
    ])?;
    // Leases are written again and again, and nobody replicates them. A server that cannot do without old revisions keeps them.
    let revs = Ask::new(Method::PUT, "_revs_limit", format!("{at}/_revs_limit")).with("20");
    revs.send(upstream).await?;
    let admins = r#"{"admins":{"names":[],"roles":["_admin"]},"members":{"names":[],"roles":["_admin"]}}"#;
    let closed = Ask::new(Method::PUT, "_security", format!("{at}/_security")).with(admins);
    closed.send(upstream).await?.expect(&[StatusCode::OK])?;
    Ok(())
}
