//! From a route to what is done with it: pass, write, changes, replicate or checkpoint.

use std::sync::Arc;

use futures_util::{FutureExt, TryFutureExt, future::BoxFuture};
use http::Response;

use super::{
    Call, Databases, Error, Settings, changes, checkpoint, cors,
    reads::{self, Censuses},
    replicate,
    version::Fallback,
};
use crate::{
    couch::Route,
    schema::VersionError,
    upstream::{Body, Upstream},
};

/// What becomes of a request.
pub type Answer = Result<Response<Body>, Error>;

/// What is done with a request that may write ordinary documents of a configured database ([`Route::writes`]).
pub trait Writes: Send + Sync + 'static {
    /// Forwards the request and gives the answer the client gets.
    fn forward(&self, call: Call) -> BoxFuture<'_, Answer>;
}

/// Writes are forwarded, and that is all.
pub struct Passing(pub Upstream);

/// Everything that all connections share.
pub struct Proxy {
    pub(super) settings: Settings,
    pub(super) upstream: Upstream,
    pub(super) writes: Arc<dyn Writes>,
    /// What is made of clients that declare no version, by database, and in all others.
    fallbacks: (Vec<(Databases, Fallback)>, Fallback),
    /// Whether any app sees less than another.
    filters: bool,
    /// Whether any app is shown less than another.
    scopes: bool,
    /// Whether any app ends.
    ends: bool,
    pub(super) cors: cors::Policy,
    pub(super) censuses: Censuses,
}

impl Writes for Passing {
    fn forward(&self, call: Call) -> BoxFuture<'_, Answer> {
        Box::pin(pass(&self.0, call))
    }
}

impl Proxy {
    /// Fails if a default app version has no manifest.
    pub fn new(settings: Settings, upstream: Upstream, writes: Arc<dyn Writes>) -> Result<Self, VersionError> {
        let by_database = settings
            .undeclared_in
            .iter()
            .map(|(databases, undeclared)| Ok((databases.clone(), Fallback::new(&settings, undeclared)?)));
        let by_database = by_database.collect::<Result<_, VersionError>>()?;
        let fallbacks = (by_database, Fallback::new(&settings, &settings.undeclared)?);
        let filters = settings.apps.iter().any(|app| app.replicates.is_some());
        let scopes = settings.apps.iter().any(|app| app.reads.is_some());
        let ends = settings.apps.iter().any(|app| app.manifest.ends());
        let cors = cors::Policy::new(settings.cors.as_ref(), &settings.version_header);
        Ok(Self {
            settings,
            upstream,
            writes,
            fallbacks,
            filters,
            scopes,
            ends,
            cors,
            censuses: Censuses::default(),
        })
    }

    /// What is made of a client that declares no version, in this database.
    pub(super) fn fallback(&self, db: &str) -> &Fallback {
        let (by_database, others) = &self.fallbacks;
        let of = |(databases, _): &&(Databases, _)| databases.contains(db);
        by_database.iter().find(of).map_or(others, |(_, fallback)| fallback)
    }

    /// Whether in some databases a client that declares no version is taken for an app.
    pub(super) fn has_defaults(&self) -> bool {
        let (by_database, _) = &self.fallbacks;
        by_database.iter().any(|(_, fallback)| fallback.app().is_some())
    }

    /// Whether an answer of this route depends on the app version.
    pub(super) fn varies(&self, route: &Route) -> bool {
        let is_filtered = matches!(
            route,
            Route::Root | Route::Local { .. } | Route::LocalDocs { .. } | Route::Changes { .. }
        );
        self.ends || (self.filters && is_filtered) || (self.scopes && is_read(route))
    }
}

/// Does with a request what its route asks for. Only what is looked into gets a future of its own.
pub(super) fn dispatch(proxy: Arc<Proxy>, call: Call) -> impl Future<Output = Answer> + Send + 'static {
    // A route a line: what has to be looked into, and by whom.
    match call.route {
        Route::Changes { .. } if call.replicates().is_some() => changes::forward(proxy, call).boxed().left_future(),
        _ if call.reads().is_some() && is_read(&call.route) => reads::forward(proxy, call).boxed().left_future(),
        _ if proxy.filters && replicate::concerns(&proxy, &call) => {
            replicate::forward(proxy, call).boxed().left_future()
        }
        _ if checkpoint::filter(&call).is_some() => checkpoint::forward(proxy, call).boxed().left_future(),
        _ if call.versioned && call.route.writes(&call.method) => {
            async move { proxy.writes.forward(call).await }.boxed().left_future()
        }
        _ => pass(&proxy.upstream, call).right_future(),
    }
}

/// Whether a route shows many documents at once.
fn is_read(route: &Route) -> bool {
    matches!(
        route,
        Route::Find { .. }
            | Route::AllDocs { .. }
            | Route::AllDocsQueries { .. }
            | Route::View { .. }
            | Route::ViewQueries { .. }
            | Route::BulkGet { .. }
    )
}

/// Streams both ways and looks at nothing.
pub(super) fn pass(upstream: &Upstream, call: Call) -> impl Future<Output = Answer> + Send + use<> {
    upstream.send(call.into_request()).err_into()
}
