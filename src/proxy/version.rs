//! Which app version sent a request.

use std::sync::Arc;

use http::{HeaderValue, Request, header::VARY};
use tracing::Span;

use super::{Call, Error, Proxy, Undeclared, headers::append};
use crate::{
    couch::{Route, route::effective_method},
    schema::AppManifest,
    upstream::Body,
};

/// Parses a request once, for all that follows.
///
/// Fails if a version is declared wrongly where it counts: in the configured databases, for jobs of replication and for
/// what the server says of itself; or if it is missing where it is demanded, in the databases alone. A preflight never has one:
/// browsers send it without the headers it asks for.
pub(super) fn understand(proxy: &Proxy, request: Request<Body>, preflight: bool) -> Result<Call, Error> {
    let (mut parts, body) = request.into_parts();
    let method = effective_method(&parts.method, &parts.headers);
    let route = Route::parse(&method, parts.uri.path());
    let db = route.db().unwrap_or_default();
    let versioned = proxy.settings.databases.contains(db);
    let span = Span::current();
    span.record("route", route.kind()).record("db", db);
    let concerns = versioned || matches!(route, Route::Root | Route::Replicate) || route.is_replicator();
    let app = if !concerns || preflight {
        None
    } else if let Some(app) = declared(proxy, &parts.headers)? {
        Some(app.clone())
    } else if versioned {
        undeclared(proxy)?.cloned()
    } else {
        proxy.default_app.clone()
    };
    if let Some(app) = &app {
        span.record("app", tracing::field::display(app));
    }
    parts.headers.remove(&proxy.settings.version_header);
    Ok(Call {
        parts,
        body,
        method,
        route,
        versioned,
        app,
    })
}

/// Says that an answer depends on the version header.
pub(super) fn vary<B>(proxy: &Proxy, response: &mut http::Response<B>) {
    append(
        response.headers_mut(),
        VARY,
        &HeaderValue::from(proxy.settings.version_header.clone()),
    );
}

fn declared<'a>(proxy: &'a Proxy, headers: &http::HeaderMap) -> Result<Option<&'a Arc<AppManifest>>, Error> {
    let name = &proxy.settings.version_header;
    let ambiguous = || Error::AmbiguousVersion(name.to_string());
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|value| value != first) {
        return Err(ambiguous());
    }
    let text = first.to_str().map_err(|_| ambiguous())?;
    match proxy.settings.apps.resolve(text) {
        Ok(app) => Ok(Some(app)),
        Err(source) => Err(Error::Version {
            header: name.to_string(),
            source,
        }),
    }
}

fn undeclared(proxy: &Proxy) -> Result<Option<&Arc<AppManifest>>, Error> {
    metrics::counter!("chesterfield_undeclared_requests_total").increment(1);
    match &proxy.settings.undeclared {
        Undeclared::Pass => {
            Span::current().record("app", "undeclared");
            Ok(None)
        }
        Undeclared::Reject => Err(Error::Undeclared {
            header: proxy.settings.version_header.to_string(),
            known: proxy.settings.apps.to_string(),
        }),
        Undeclared::Default(_) => Ok(proxy.default_app.as_ref()),
    }
}
