//! Answers as CouchDB words them: JSON with a final newline, errors as `{"error","reason"}`.

use std::borrow::Cow;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use rouchdb_core::{document::DocResult, error::RouchError};
use serde::Serialize;
use serde_json::json;

use crate::upstream::{Body, BoxError};

/// A request that fails, as its client sees it.
#[derive(Debug, thiserror::Error)]
#[error("{error}: {reason}")]
pub struct Failure {
    pub status: StatusCode,
    pub error: Cow<'static, str>,
    pub reason: String,
    /// The methods a 405 names.
    allow: Option<&'static str>,
}

pub type Answer = Result<Response<Body>, Failure>;

impl Failure {
    pub fn new(status: StatusCode, error: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            reason: reason.into(),
            allow: None,
        }
    }

    pub fn bad_request(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", reason)
    }

    pub fn invalid_json() -> Self {
        Self::bad_request("invalid UTF-8 JSON")
    }

    pub fn invalid_rev() -> Self {
        Self::bad_request("Invalid rev format")
    }

    pub fn doc_validation(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "doc_validation", reason)
    }

    pub fn illegal_docid(reason: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "illegal_docid", reason)
    }

    pub fn missing() -> Self {
        Self::not_found("missing")
    }

    pub fn not_found(reason: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", reason)
    }

    pub fn conflict() -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Document update conflict.")
    }

    pub fn missing_stub(id: &str, name: &str) -> Self {
        let reason = format!("Invalid attachment stub in {id} for {name}");
        Self::new(StatusCode::PRECONDITION_FAILED, "missing_stub", reason)
    }

    /// What a real CouchDB has and this store has not.
    pub fn lacks(what: &str) -> Self {
        let reason = format!("the embedded upstream has no {what}; put a CouchDB behind the proxy for it");
        Self::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", reason)
    }

    /// `allow` as CouchDB lists it, `GET,HEAD`.
    pub fn method(allow: &'static str) -> Self {
        let reason = format!("Only {allow} allowed");
        Self {
            allow: Some(allow),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", reason)
        }
    }

    pub fn to_response(&self) -> Response<Body> {
        let mut response = json(self.status, &json!({"error": self.error, "reason": self.reason}));
        if let Some(allow) = self.allow {
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// The storage's errors: what it refuses is the client's fault, what it cannot do is ours.
impl From<RouchError> for Failure {
    fn from(error: RouchError) -> Self {
        match error {
            RouchError::NotFound(_) => Self::missing(),
            RouchError::Conflict => Self::conflict(),
            RouchError::InvalidRev(_) => Self::invalid_rev(),
            RouchError::BadRequest(reason) => Self::bad_request(reason),
            other => {
                tracing::error!(error = %other, "the embedded store failed");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal_server_error",
                    other.to_string(),
                )
            }
        }
    }
}

/// A row the storage refused inside a batch.
impl From<DocResult> for Failure {
    fn from(result: DocResult) -> Self {
        let reason = result.reason.unwrap_or_default();
        match result.error.as_deref() {
            Some("conflict") => Self::conflict(),
            Some("missing_stub") => Self::new(StatusCode::PRECONDITION_FAILED, "missing_stub", reason),
            _ => Self::bad_request(reason),
        }
    }
}

/// A whole JSON answer; CouchDB ends each with a newline.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(mut text) => {
            text.push(b'\n');
            bytes(status, "application/json", text)
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            bytes(StatusCode::INTERNAL_SERVER_ERROR, "application/json", Bytes::new())
        }
    }
}

/// `{"ok":true}`.
pub fn ok(status: StatusCode) -> Response<Body> {
    json(status, &json!({"ok": true}))
}

pub fn bytes(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let body = body.into();
    let length = body.len();
    let mut response = with_type(
        status,
        content_type,
        Full::new(body).map_err(|e| match e {}).boxed_unsync(),
    );
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

/// An answer in pieces, written as they come.
pub fn stream<S, E>(content_type: &str, pieces: S) -> Response<Body>
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    let body = BodyExt::boxed_unsync(StreamBody::new(pieces.map_ok(Frame::data).map_err(Into::into)));
    with_type(StatusCode::OK, content_type, body)
}

/// 304: the client has it.
pub fn not_modified(etag: &str) -> Response<Body> {
    let mut response = bytes(StatusCode::NOT_MODIFIED, "application/json", Bytes::new());
    response.headers_mut().remove(header::CONTENT_TYPE);
    with_etag(response, etag)
}

/// `etag` without its quotes. One that cannot stand in a header is left out.
pub fn with_etag(mut response: Response<Body>, etag: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

pub fn with_location(mut response: Response<Body>, location: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

/// What HEAD answers: the headers of GET. A streamed GET has a length of 0 here, as CouchDB says it.
pub fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, _) = response.into_parts();
    parts
        .headers
        .entry(header::CONTENT_LENGTH)
        .or_insert(HeaderValue::from_static("0"));
    Response::from_parts(
        parts,
        http_body_util::Empty::new().map_err(|e| match e {}).boxed_unsync(),
    )
}

fn with_type(status: StatusCode, content_type: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("must-revalidate"));
    if let Ok(value) = HeaderValue::from_str(content_type) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    response
}
