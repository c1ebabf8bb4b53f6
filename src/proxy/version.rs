//! Which app version sent a request, and what its answer says of it.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, Response, header::VARY};
use tracing::Span;

use super::{
    Call, Error, Proxy, Settings, Undeclared,
    headers::append,
    lifecycle,
    prefix::{self, Prefix},
};
use crate::{
    couch::{Route, route::effective_method},
    schema::{AppManifest, VersionError},
    upstream::Body,
};

/// What the proxy takes a client for that declares no version.
pub(super) enum Fallback {
    /// One that sees everything.
    Everything,
    /// One that is refused.
    Nobody,
    /// This app.
    App(Arc<AppManifest>),
}

/// What an answer has to say of how its request was understood.
#[derive(Default)]
pub(super) struct Remarks {
    /// It depends on the version header.
    varies: bool,
    /// A version that ends.
    ends: Option<Arc<AppManifest>>,
    /// What was taken off the path.
    prefix: Option<Prefix>,
}

impl Fallback {
    /// Fails if there is no such app.
    pub(super) fn new(settings: &Settings, undeclared: &Undeclared) -> Result<Self, VersionError> {
        Ok(match undeclared {
            Undeclared::Pass => Self::Everything,
            Undeclared::Reject => Self::Nobody,
            Undeclared::Default(app) => Self::App(settings.apps.resolve(&app.to_string())?.clone()),
        })
    }

    /// None if it is no app.
    pub(super) fn app(&self) -> Option<&Arc<AppManifest>> {
        match self {
            Self::App(app) => Some(app),
            Self::Everything | Self::Nobody => None,
        }
    }
}

/// Parses a request once, for all that follows.
///
/// Fails if a version is declared wrongly where it counts: in the path, in the configured databases, for jobs of replication and
/// for what the server says of itself; if it is missing where it is demanded, in the databases alone; and if it is retired. A
/// preflight never has one: browsers send it without the headers it asks for.
pub(super) fn understand(
    proxy: &Proxy,
    request: Request<Body>,
    preflight: bool,
    remarks: &mut Remarks,
) -> Result<Call, Error> {
    let (mut parts, body) = request.into_parts();
    // Every refusal here is about the version.
    remarks.varies = true;
    remarks.prefix = prefix::strip(&mut parts.uri, &parts.headers)?;
    let method = effective_method(&parts.method, &parts.headers);
    let route = Route::parse(&method, parts.uri.path());
    let db = route.db().unwrap_or_default();
    let versioned = proxy.settings.databases.contains(db);
    let span = Span::current();
    span.record("route", route.kind()).record("db", db);
    let counts = versioned || matches!(route, Route::Root | Route::Replicate) || route.is_replicator();
    let in_path = match &remarks.prefix {
        Some(prefix) => Some(resolve(proxy, &prefix.declared, "/_app/")?),
        None => None,
    };
    let app = if !counts || preflight {
        None
    } else {
        match (in_path, declared(proxy, &parts.headers)?) {
            (Some(path), Some(header)) if !Arc::ptr_eq(path, header) => {
                return Err(Error::TwoVersions {
                    path: path.to_string(),
                    header: header.to_string(),
                });
            }
            (Some(app), _) | (None, Some(app)) => Some(app.clone()),
            (None, None) if versioned => undeclared(proxy, db)?.cloned(),
            (None, None) => proxy.fallback("").app().cloned(),
        }
    };
    if let Some(app) = &app {
        span.record("app", tracing::field::display(app));
        remarks.ends = app.manifest.ends().then(|| app.clone());
    }
    parts.headers.remove(&proxy.settings.version_header);
    let call = Call {
        parts,
        body,
        method,
        route,
        versioned,
        app,
    };
    if let Some(app) = &remarks.ends {
        lifecycle::admit(&call, app, &proxy.settings.apps, proxy.settings.retirement)?;
    }
    remarks.varies = counts && proxy.varies(&call.route);
    Ok(call)
}

impl Remarks {
    /// Whether there is nothing to say.
    pub(super) fn is_empty(&self) -> bool {
        !self.varies && self.ends.is_none() && self.prefix.is_none()
    }

    /// Says it.
    pub(super) fn add(&self, proxy: &Proxy, answer: &mut Response<Body>) {
        let headers = answer.headers_mut();
        if self.varies {
            append(headers, VARY, &HeaderValue::from(proxy.settings.version_header.clone()));
        }
        if let Some(app) = &self.ends {
            lifecycle::announce(app, headers);
        }
        if let Some(prefix) = &self.prefix {
            prefix.restore(headers);
        }
    }
}

fn declared<'a>(proxy: &'a Proxy, headers: &HeaderMap) -> Result<Option<&'a Arc<AppManifest>>, Error> {
    let name = &proxy.settings.version_header;
    let ambiguous = || Error::AmbiguousVersion(name.to_string());
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|value| value != first) {
        return Err(ambiguous());
    }
    let text = first.to_str().map_err(|_| ambiguous())?;
    resolve(proxy, text, name.as_str()).map(Some)
}

fn resolve<'a>(proxy: &'a Proxy, text: &str, given: &str) -> Result<&'a Arc<AppManifest>, Error> {
    proxy.settings.apps.resolve(text).map_err(|source| Error::Version {
        given: given.to_owned(),
        source,
    })
}

fn undeclared<'a>(proxy: &'a Proxy, db: &str) -> Result<Option<&'a Arc<AppManifest>>, Error> {
    metrics::counter!("chesterfield_undeclared_requests_total").increment(1);
    match proxy.fallback(db) {
        Fallback::Everything => {
            Span::current().record("app", "undeclared");
            Ok(None)
        }
        Fallback::Nobody => Err(Error::Undeclared {
            header: proxy.settings.version_header.to_string(),
            known: proxy.settings.apps.to_string(),
        }),
        Fallback::App(app) => Ok(Some(app)),
    }
}
