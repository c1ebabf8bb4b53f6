//! One function turns errors into CouchDB's `{"error","reason"}`.

use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use super::{replicate, validate::Unseen};
use crate::{
    schema::VersionError,
    upstream::{
        self, Body,
        body::{ReadError, full},
    },
};

/// Why the proxy answers by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The declared version has no manifest.
    #[error("{given}: {source}")]
    Version {
        /// The header's name, or where in the path it stands.
        given: String,
        /// What is wrong with its value.
        source: VersionError,
    },
    /// A path begins with `/_app`, and that is all.
    #[error("/_app has to be followed by an app version, as in /_app/todo-app@2.0.0/db")]
    NoVersionInPath,
    /// Path and header declare different versions.
    #[error("the path declares {path}, the header {header}: declare one of them")]
    TwoVersions {
        /// In the path.
        path: String,
        /// In the header.
        header: String,
    },
    /// The declared version is past its end.
    #[error("{app} was retired{since}: {}", match .minimum {
        Some(minimum) => format!("please update to version {minimum} or newer"),
        None => "no version of this app works any more".to_owned(),
    })]
    Retired {
        /// The app version.
        app: String,
        /// ` on` a day, or nothing.
        since: String,
        /// The oldest version that works.
        minimum: Option<String>,
        /// As configured.
        status: StatusCode,
    },
    /// The version header is there twice, with different values, or is no text.
    #[error("the header {0} may be given once, as text")]
    AmbiguousVersion(String),
    /// None was declared where one is demanded.
    #[error("the header {header} is missing; known are: {known}")]
    Undeclared {
        /// The header's name.
        header: String,
        /// The manifests.
        known: String,
    },
    /// CouchDB would refuse the request in the same words.
    #[error("{0}")]
    BadRequest(&'static str),
    /// CouchDB would refuse the body's type in the same words.
    #[error("{0}")]
    BadContentType(String),
    /// The body is too long, or broke off.
    #[error(transparent)]
    Body(#[from] ReadError),
    /// A job of replication that would show its app what it is not to see, or keep from it what it is.
    #[error(transparent)]
    Job(#[from] replicate::Refused),
    /// A document does not fit its class.
    #[error("{0}")]
    Forbidden(String),
    /// Documents that have to fit their classes could not be looked at.
    #[error(transparent)]
    Unseen(#[from] Unseen),
    /// The work on a request broke off: a defect.
    #[error("the request was given up")]
    Lost,
    /// No answer from upstream.
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
}

impl Error {
    /// For how long the client was silent, if that is why its request failed.
    fn silence(&self) -> Option<Duration> {
        match self {
            Self::Body(ReadError::Broken(source)) | Self::Upstream(upstream::Error::Broken { source, .. }) => {
                upstream::client_was_silent(&**source)
            }
            _ => None,
        }
    }

    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            told if told.silence().is_some() => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::Version { .. }
            | Self::NoVersionInPath
            | Self::TwoVersions { .. }
            | Self::AmbiguousVersion(_)
            | Self::Undeclared { .. }
            | Self::BadRequest(_)
            | Self::Job(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::Retired { status, .. } => (*status, "app_version_retired"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::Unseen(Unseen::TooLong(_)) => (StatusCode::PAYLOAD_TOO_LARGE, "document_too_large"),
            Self::Unseen(Unseen::TooManyRefused(_)) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::Unseen(Unseen::NoRoom) => (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable"),
            Self::Unseen(Unseen::NoGzip) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::BadContentType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_content_type"),
            Self::Body(ReadError::TooLong(_)) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::Body(ReadError::Broken(_)) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::Lost => (StatusCode::INTERNAL_SERVER_ERROR, "unknown_error"),
            Self::Upstream(upstream::Error::TimedOut { .. }) => (StatusCode::GATEWAY_TIMEOUT, "gateway_timeout"),
            Self::Upstream(_) => (StatusCode::BAD_GATEWAY, "bad_gateway"),
        }
    }

    /// What a client may read: of the upstream, no more than that it failed.
    fn reason(&self) -> String {
        if let Some(after) = self.silence() {
            return format!("nothing came of the request's body for {after:?}");
        }
        match self {
            Self::Upstream(upstream::Error::Unreachable { .. }) => "the upstream cannot be reached".to_owned(),
            Self::Upstream(upstream::Error::Broken { .. }) => "the upstream broke off its answer".to_owned(),
            Self::Upstream(upstream::Error::TimedOut { .. }) => "the upstream did not answer in time".to_owned(),
            Self::Body(ReadError::Broken(_)) => "the request's body broke off".to_owned(),
            told => told.to_string(),
        }
    }
}

/// The answer to a request that failed here.
pub fn error(error: &Error) -> Response<Body> {
    let (status, name) = error.status();
    if status.is_server_error() {
        tracing::warn!(%error, "no answer from upstream");
    }
    let mut told = json!({ "error": name, "reason": error.reason() });
    if let Error::Retired {
        minimum: Some(minimum), ..
    } = error
    {
        told["minimum"] = json!(minimum);
    }
    json(status, &told)
}

/// An answer of JSON, ended by a newline as CouchDB's are.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(format!("{value}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("must-revalidate"));
    response
}
