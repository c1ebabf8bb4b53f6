//! What clients are told of the end of their version, and what a retired one may still do.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::LINK};

use super::{Call, Error};
use crate::{
    couch::Route,
    schema::{AppManifest, Apps, Moment},
};

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// What becomes of versions past their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retirement {
    /// What their requests are answered with.
    pub status: StatusCode,
    /// Whether what they still push is accepted.
    pub accepts_writes: bool,
}

impl Default for Retirement {
    fn default() -> Self {
        Self {
            status: StatusCode::UPGRADE_REQUIRED,
            accepts_writes: false,
        }
    }
}

/// Refuses the requests of a retired version, save those that a push is made of if it may write.
pub(super) fn admit(call: &Call, app: &AppManifest, apps: &Apps, retirement: Retirement) -> Result<(), Error> {
    let now = Moment::now();
    if !app.manifest.is_retired(now) || (retirement.accepts_writes && pushes(call)) {
        return Ok(());
    }
    let sunset = app.manifest.sunset.filter(|sunset| *sunset <= now);
    Err(Error::Retired {
        app: app.to_string(),
        since: sunset.map(|sunset| format!(" on {sunset}")).unwrap_or_default(),
        minimum: apps.successor(app, now).map(|next| next.manifest.version.to_string()),
        status: retirement.status,
    })
}

/// What PouchDB and CouchDB ask of the target of a replication.
fn pushes(call: &Call) -> bool {
    let reads = call.method == http::Method::GET || call.method == http::Method::HEAD;
    match call.route {
        Route::Root | Route::Database { .. } => reads,
        Route::Local { .. } | Route::ReplicationTarget { .. } => true,
        // A job of replication is written to be run, not to be kept.
        _ => call.versioned && call.route.writes(&call.method),
    }
}

/// Says in an answer that a version ends: `Deprecation` (RFC 9745), `Sunset` (RFC 8594) and where to read of it.
pub(super) fn announce(app: &AppManifest, headers: &mut HeaderMap) {
    let manifest = &app.manifest;
    let is_deprecated = manifest.deprecated.is_some();
    let has_sunset = manifest.sunset.is_some() || manifest.retired;
    let link = |relation: &str| Some(format!("<{}>; rel=\"{relation}\"", manifest.link.as_ref()?));
    let told = [
        (DEPRECATION, manifest.deprecated.map(Moment::structured)),
        (SUNSET, manifest.sunset.map(Moment::http_date)),
        (LINK, link("deprecation").filter(|_| is_deprecated)),
        (LINK, link("sunset").filter(|_| has_sunset)),
    ];
    for (name, value) in told {
        match value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            Some(value) if name == LINK => {
                headers.append(name, value);
            }
            Some(value) => {
                headers.insert(name, value);
            }
            None => {}
        }
    }
}
