//! A CouchDB reached over HTTP or HTTPS: pooled HTTP/1.1 connections, a base path, the service account of the URL.

use std::{sync::Arc, time::Duration};

use base64::Engine as _;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri, Version,
    header::{CONNECTION, HOST, LOCATION},
    uri::{Parts, PathAndQuery, Scheme},
};
use http_body_util::BodyExt;
use hyper::rt::{Read, Write};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use tower::{Service, service_fn, util::BoxCloneSyncService};

use super::{
    Body, BoxError, Error, LiveFeed, Upstream, UpstreamService,
    idle::{Idle, Sender, watch, within},
    pool::{Failure, Pool},
};
use crate::couch::route::{decode, is_multipart, query_pairs};

/// By this CouchDB, and by its proto the scheme, makes the URLs in its answers.
pub const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// See [`FORWARDED_HOST`].
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How long to wait for an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a TCP connection.
    pub connect: Duration,
    /// For the head of an answer, and between the bytes of its body. Never applied to a [`LiveFeed`].
    pub idle: Duration,
}

/// The URL names no CouchDB.
#[derive(Debug, thiserror::Error)]
pub enum InvalidUrl {
    /// It does not parse.
    #[error("the upstream's URL does not parse: {0}")]
    Syntax(#[from] http::uri::InvalidUri),
    /// Only these two schemes exist.
    #[error("the upstream's URL has to begin with http:// or https://")]
    Scheme,
    /// A query would be lost.
    #[error("the upstream's URL may not have a query")]
    Query,
    /// A name or password is badly escaped.
    #[error("the name or password in the upstream's URL is not valid percent-encoded text")]
    Credentials,
    /// The system's certificates cannot be read.
    #[error("no system certificates: {0}")]
    Certificates(#[source] std::io::Error),
}

/// Where requests go.
#[derive(Clone)]
struct Target {
    /// Scheme and authority, for connections.
    uri: Uri,
    host: HeaderValue,
    /// Without a trailing slash; empty if there is none.
    base: String,
    name: String,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(600),
        }
    }
}

/// The CouchDB at `url`: `http[s]://[name:password@]host[:port][/base]`.
///
/// The credentials are used by nobody but the proxy itself ([`Upstream::account`]).
pub fn http(url: &str, timeouts: Timeouts) -> Result<Upstream, InvalidUrl> {
    let (target, account) = Target::parse(url)?;
    let name = target.name.clone();
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(timeouts.connect));
    // A live feed whose peer has vanished is noticed by nothing else.
    connector.set_keepalive(Some(Duration::from_secs(60)));
    connector.set_keepalive_interval(Some(Duration::from_secs(15)));
    connector.set_keepalive_retries(Some(4));
    let service = if target.uri.scheme() == Some(&Scheme::HTTPS) {
        let builder = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(InvalidUrl::Certificates)?;
        service(
            target,
            builder.https_only().enable_http1().wrap_connector(connector),
            timeouts,
        )
    } else {
        service(target, connector, timeouts)
    };
    Ok(Upstream { service, account, name })
}

fn service<C, S>(target: Target, connector: C, timeouts: Timeouts) -> UpstreamService
where
    C: Service<Uri, Response = S, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
    S: Read + Write + Unpin + Send + 'static,
{
    let pool = Pool::new(connector, target.uri.clone());
    let shared = Arc::new((pool, target));
    BoxCloneSyncService::new(service_fn(move |mut request: Request<Body>| {
        let shared = shared.clone();
        async move {
            let (pool, target) = &*shared;
            let idle = request
                .extensions()
                .get::<LiveFeed>()
                .is_none()
                .then_some(timeouts.idle);
            let reachable = Reachable::of(request.headers());
            target.aim(&mut request);
            if gets_out_of_step(request.uri(), request.headers()) {
                request
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let answer = match idle {
                Some(after) => {
                    let (parts, body) = request.into_parts();
                    let (body, moved) = watch(body);
                    let answer = pool.send(Request::from_parts(parts, body));
                    within(after, moved, answer)
                        .await
                        .ok_or_else(|| target.timed_out(after))?
                }
                None => pool.send(request).await,
            };
            let mut answer = answer.map_err(|failure| target.failed(failure))?;
            target.relocate(answer.headers_mut(), &reachable);
            Ok(answer.map(|body| match idle {
                Some(after) => Idle::new(body, Sender::Upstream, after).boxed_unsync(),
                None => body.map_err(Into::into).boxed_unsync(),
            }))
        }
    }))
}

/// Whether CouchDB may send more or read less on a connection than this request is about, so that whoever came next there would
/// be given another's answer (3.5.0). A feed of events without rows is ended twice. An attachment of a `_local` document is
/// accepted and its body left unread, and so is what follows the last part of a multipart: it is taken for the next request.
///
/// All else keeps its connection, other feeds too: a longpoll that hidden writes wake is asked for again and again.
fn gets_out_of_step(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut segments = uri.path().split('/').filter(|segment| !segment.is_empty());
    let is_events = query_pairs(uri.query().unwrap_or_default()).any(|(_, value)| value == "eventsource");
    is_multipart(headers)
        || is_events
        || (segments.any(|segment| decode(segment).starts_with("_local/")) && segments.next().is_some())
}

/// How the client reached the proxy, as the proxy's own headers say.
struct Reachable {
    host: Option<HeaderValue>,
    proto: Option<HeaderValue>,
}

impl Reachable {
    fn of(headers: &HeaderMap) -> Self {
        Self {
            host: headers.get(FORWARDED_HOST).cloned(),
            proto: headers.get(FORWARDED_PROTO).cloned(),
        }
    }
}

impl Target {
    fn parse(url: &str) -> Result<(Self, Option<HeaderValue>), InvalidUrl> {
        let Parts {
            scheme,
            authority,
            path_and_query,
            ..
        } = url.parse::<Uri>()?.into_parts();
        let (Some(scheme), Some(authority)) = (scheme, authority) else {
            return Err(InvalidUrl::Scheme);
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(InvalidUrl::Scheme);
        }
        let path = path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        if path.query().is_some() {
            return Err(InvalidUrl::Query);
        }
        let base = path.path().trim_end_matches('/').to_owned();
        let (credentials, bare) = match authority.as_str().rsplit_once('@') {
            Some((credentials, bare)) => (Some(credentials), bare),
            None => (None, authority.as_str()),
        };
        let account = credentials.map(basic).transpose()?;
        let host = HeaderValue::from_str(bare).map_err(|_| InvalidUrl::Scheme)?;
        let name = format!("{scheme}://{bare}{base}");
        let uri = format!("{scheme}://{bare}/").parse()?;
        Ok((Self { uri, host, base, name }, account))
    }

    /// Turns a request in origin form towards the upstream.
    fn aim(&self, request: &mut Request<Body>) {
        if !self.base.is_empty() {
            let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
            // Both halves have been parsed before.
            if let Ok(uri) = Uri::from_maybe_shared(format!("{}{path}", self.base)) {
                *request.uri_mut() = uri;
            }
        }
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().insert(HOST, self.host.clone());
    }

    /// A `Location` under the upstream's own address becomes one under the address the client used.
    ///
    /// CouchDB builds it from `X-Forwarded-Host` by itself; what stands before CouchDB may not.
    fn relocate(&self, headers: &mut HeaderMap, reachable: &Reachable) {
        let Some(location) = headers.get(LOCATION).and_then(|location| location.to_str().ok()) else {
            return;
        };
        let local = location
            .strip_prefix(self.uri.scheme_str().unwrap_or_default())
            .and_then(|rest| rest.strip_prefix("://"))
            .and_then(|rest| rest.strip_prefix(self.uri.authority()?.as_str()))
            .filter(|path| path.is_empty() || path.starts_with('/'))
            .or_else(|| Some(location).filter(|path| path.starts_with('/') && !self.base.is_empty()));
        let Some(path) = local else { return };
        let path = path
            .strip_prefix(&self.base)
            .filter(|rest| rest.starts_with('/'))
            .unwrap_or(path);
        let text =
            |value: &Option<HeaderValue>| value.as_ref().and_then(|value| value.to_str().ok().map(str::to_owned));
        let rewritten = match (location.starts_with('/'), text(&reachable.host)) {
            (false, Some(host)) => {
                let proto = text(&reachable.proto).unwrap_or_else(|| "http".to_owned());
                format!("{proto}://{host}{path}")
            }
            _ => path.to_owned(),
        };
        if let Ok(value) = HeaderValue::from_str(&rewritten) {
            headers.insert(LOCATION, value);
        }
    }

    fn timed_out(&self, after: Duration) -> Error {
        Error::TimedOut {
            name: self.name.clone(),
            after,
        }
    }

    fn failed(&self, failure: Failure) -> Error {
        let name = self.name.clone();
        match failure {
            Failure::Connect(source) => Error::Unreachable { name, source },
            Failure::Broken(error) => Error::Broken {
                name,
                source: error.into(),
            },
        }
    }
}

/// `name:password`, percent-encoded as URLs have it, as the value of an `Authorization`.
fn basic(credentials: &str) -> Result<HeaderValue, InvalidUrl> {
    let (name, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let decode = |text| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8()
            .map_err(|_| InvalidUrl::Credentials)
    };
    let plain = format!("{}:{}", decode(name)?, decode(password)?);
    let encoded = base64::engine::general_purpose::STANDARD.encode(plain);
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).map_err(|_| InvalidUrl::Credentials)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;

    use http::header::CONTENT_TYPE;

    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url).unwrap().0
    }

    fn aimed(url: &str, path: &str) -> Request<Body> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let mut request = Request::get(path).body(body).unwrap();
        target(url).aim(&mut request);
        request
    }

    fn relocated(url: &str, location: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, location.parse().unwrap());
        let reachable = Reachable {
            host: Some(HeaderValue::from_static("todo.example")),
            proto: Some(HeaderValue::from_static("https")),
        };
        target(url).relocate(&mut headers, &reachable);
        headers[LOCATION].to_str().unwrap().to_owned()
    }

    #[test]
    fn credentials_leave_the_url() {
        let (target, account) = Target::parse("http://ad%40min:p%3Aw@couch:5984/").unwrap();
        assert_eq!(target.name, "http://couch:5984");
        assert_eq!(target.host, "couch:5984");
        assert_eq!(account.unwrap(), "Basic YWRAbWluOnA6dw==");
        assert!(Target::parse("http://couch").unwrap().1.is_none());
    }

    #[test]
    fn refuses_what_is_no_address() {
        for url in [
            "couch:5984",
            "/db",
            "ftp://couch",
            "http://couch/?x",
            "http://a%FF@couch",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn knows_what_leaves_a_connection_out_of_step() {
        for (target, is_so) in [
            ("/db/_changes?feed=longpoll&feed=%65ventsource", true),
            ("/db/_local%2Fa/file", true),
            ("/base//db//%5flocal%2fa//file/", true),
            ("/db/_local%2Fa/", false),
            ("/db/_local/a/file", false),
            ("/db/_changes?feed=continuous", false),
        ] {
            let is_told = gets_out_of_step(&Uri::from_static(target), &HeaderMap::new());
            assert_eq!(is_told, is_so, "{target}");
        }
        for (kind, is_so) in [("Multipart/related;boundary=b", true), ("application/json", false)] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(gets_out_of_step(&Uri::from_static("/db/a"), &headers), is_so, "{kind}");
        }
    }

    #[test]
    fn keeps_the_base_path_and_the_spelling() {
        assert_eq!(
            aimed("http://couch/base/", "/db/a%2Fb?x=%22").uri(),
            "/base/db/a%2Fb?x=%22"
        );
        assert_eq!(aimed("http://couch", "//db/%61").uri(), "//db/%61");
        assert_eq!(aimed("http://couch:5984", "/").headers()[HOST], "couch:5984");
    }

    #[test]
    fn locations_lead_back_to_the_client() {
        assert_eq!(
            relocated("http://couch:5984", "http://couch:5984/db/a%20b"),
            "https://todo.example/db/a%20b"
        );
        assert_eq!(
            relocated("http://couch/base", "http://couch/base/db/a"),
            "https://todo.example/db/a"
        );
        assert_eq!(relocated("http://couch/base", "/base/db/a"), "/db/a");
        assert_eq!(relocated("http://couch", "/db/a"), "/db/a");
        for elsewhere in [
            "http://couch:59841/db",
            "http://todo.example/db/a",
            "https://couch.example/",
        ] {
            assert_eq!(relocated("http://couch", elsewhere), elsewhere);
        }
    }
}
