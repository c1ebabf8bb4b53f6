//! CORS: web apps of other origins send requests and read the answers.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
};

use super::headers::{append, names};
use crate::upstream::{Body, body};

mod origin;

pub use origin::{InvalidOrigin, Origin, Origins};

/// What web apps may do; without it CouchDB's own settings apply.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Where they come from.
    pub origins: Origins,
    /// Whether they may send cookies and the passwords a browser keeps. PouchDB always asks for it.
    pub credentials: bool,
    /// Headers they may send beside the version header and those that CouchDB allows by default.
    pub headers: Vec<HeaderName>,
}

/// Prepared once, for all requests.
pub(super) struct Policy {
    version_header: HeaderName,
    /// None if CouchDB decides.
    own: Option<Own>,
}

struct Own {
    origins: Origins,
    credentials: bool,
    /// `Access-Control-Allow-Headers`
    headers: HeaderValue,
}

/// What becomes of a request.
pub(super) enum Met {
    /// Nothing is to be done.
    Indifferent,
    /// It goes on, and its answer is [`Policy::finish`]ed.
    Noted(Note),
    /// It was a preflight.
    Answered(Response<Body>),
}

/// What is to be remembered until the answer is there.
pub(super) enum Note {
    /// Our origins count. None: it is not among them, or there is none.
    Own(Option<HeaderValue>),
    /// CouchDB decides.
    CouchDb {
        /// Whether it is a preflight from which the version header was taken.
        hidden: bool,
    },
}

/// What browsers may send of CouchDB's `SUPPORTED_METHODS` (`chttpd_cors.hrl`).
const METHODS: HeaderValue = HeaderValue::from_static("COPY, DELETE, GET, HEAD, OPTIONS, POST, PUT");

/// CouchDB's `SUPPORTED_HEADERS`.
const HEADERS: &str = "accept, accept-language, authorization, content-length, content-range, content-type, destination, \
    expires, if-match, last-modified, origin, pragma, x-couch-full-commit, x-couch-id, x-couch-persist, \
    x-couchdb-www-authenticate, x-http-method-override, x-requested-with, x-couchdb-vhost-path";

/// What CouchDB exposes (transcripts, security 142), and what the proxy adds.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "content-type, cache-control, accept-ranges, etag, server, x-couch-request-id, x-couch-update-newrev, \
     x-couchdb-body-time, deprecation, sunset, link",
);

/// What the proxy adds to CouchDB's answers.
const ADDED: HeaderValue = HeaderValue::from_static("deprecation, sunset, link");

/// In seconds: as long as Chromium keeps the answer to a preflight at most. Every URL has its own, so replication makes many.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

const TRUE: HeaderValue = HeaderValue::from_static("true");

/// The answer headers by which one server only may decide: browsers refuse two.
const DECIDING: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

/// Whether a browser asks what it may send. It does so without the headers it asks for.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

impl Policy {
    pub(super) fn new(cors: Option<&Cors>, version_header: &HeaderName) -> Self {
        let own = cors.map(|cors| {
            let others = cors.headers.iter().chain([version_header]);
            let headers = others.fold(HEADERS.to_owned(), |list, name| format!("{list}, {name}"));
            Own {
                origins: cors.origins.clone(),
                credentials: cors.credentials,
                // Names of headers make a value of one.
                headers: HeaderValue::try_from(headers).unwrap_or(HeaderValue::from_static(HEADERS)),
            }
        });
        Self {
            version_header: version_header.clone(),
            own,
        }
    }

    /// Answers preflights of our origins, whatever they ask for: their browser sees for itself whether it is in the lists,
    /// and tells the developer what is not. One of another origin goes on, as in CouchDB, which then answers 405.
    pub(super) fn meet(&self, request: &mut Request<Body>) -> Met {
        let origin = request.headers().get(ORIGIN);
        let Some(own) = &self.own else {
            return match origin {
                None => Met::Indifferent,
                Some(_) => {
                    let hidden = is_preflight(request) && hide(request.headers_mut(), &self.version_header);
                    Met::Noted(Note::CouchDb { hidden })
                }
            };
        };
        match origin.filter(|origin| own.origins.admit(origin)) {
            Some(origin) if is_preflight(request) => Met::Answered(own.preflight(origin)),
            origin => Met::Noted(Note::Own(origin.cloned())),
        }
    }

    /// Says in an answer who may read it.
    pub(super) fn finish(&self, note: Note, headers: &mut HeaderMap) {
        match (note, &self.own) {
            (Note::Own(origin), Some(own)) => {
                for name in &DECIDING {
                    headers.remove(name);
                }
                if let Some(origin) = origin {
                    own.allow(origin, headers);
                    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
                }
                // Even where no origin is told: a cache may not give such an answer to those that need one.
                vary(headers);
            }
            (Note::CouchDb { hidden }, _) if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) => {
                if headers.contains_key(ACCESS_CONTROL_EXPOSE_HEADERS) {
                    append(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &ADDED);
                }
                // There if all else that was asked for is allowed.
                if hidden && headers.contains_key(ACCESS_CONTROL_ALLOW_METHODS) {
                    let name = HeaderValue::from(self.version_header.clone());
                    append(headers, ACCESS_CONTROL_ALLOW_HEADERS, &name);
                }
                vary(headers);
            }
            _ => {}
        }
    }
}

impl Own {
    /// Always by name: `*` holds for requests without credentials only.
    fn allow(&self, origin: HeaderValue, headers: &mut HeaderMap) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
    }

    fn preflight(&self, origin: &HeaderValue) -> Response<Body> {
        let mut answer = Response::new(body::empty());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let headers = answer.headers_mut();
        self.allow(origin.clone(), headers);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone());
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        vary(headers);
        answer
    }
}

/// Takes `name` from what a preflight asks for, as CouchDB refuses one with a name it does not know (405; transcripts,
/// security 134); false if it does not ask for it.
fn hide(headers: &mut HeaderMap, name: &HeaderName) -> bool {
    let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) else {
        return false;
    };
    let others: Vec<&str> = names(asked)
        .filter(|asked| !asked.eq_ignore_ascii_case(name.as_str()))
        .collect();
    if others.len() == names(asked).count() {
        return false;
    }
    match HeaderValue::from_str(&others.join(", ")) {
        Ok(others) if !others.is_empty() => headers.insert(ACCESS_CONTROL_REQUEST_HEADERS, others),
        _ => headers.remove(ACCESS_CONTROL_REQUEST_HEADERS),
    };
    true
}

/// Says that an answer depends on the origin.
fn vary(headers: &mut HeaderMap) {
    let said = |value: &HeaderValue| names(value).any(|name| name.eq_ignore_ascii_case("origin"));
    if !headers.get_all(VARY).iter().any(said) {
        append(headers, VARY, &HeaderValue::from_static("Origin"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vary_names_the_origin_once() {
        for (before, after) in [
            (vec![], "Origin"),
            (vec!["App-Version"], "App-Version, Origin"),
            (vec!["Accept", "App-Version, origin"], "Accept"),
        ] {
            let mut headers = HeaderMap::new();
            for value in &before {
                headers.append(VARY, HeaderValue::from_static(value));
            }
            vary(&mut headers);
            assert_eq!(headers[VARY], after, "{before:?}");
            assert_eq!(headers.get_all(VARY).iter().count(), before.len().max(1));
        }
    }
}
