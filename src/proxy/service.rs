//! From a route to what is done with it: pass, write, changes or replicate.

use std::sync::Arc;

use futures_util::{FutureExt, TryFutureExt, future::BoxFuture};
use http::{Method, Response};

use super::{Call, Error, Settings, Undeclared, changes, replicate, version};
use crate::{
    couch::{Route, route::query_pairs},
    schema::{AppManifest, VersionError},
    upstream::{Body, LiveFeed, Upstream},
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
    /// What [`Undeclared::Default`] resolves to.
    pub(super) default_app: Option<Arc<AppManifest>>,
    /// Whether any app sees less than another.
    pub(super) filters: bool,
}

impl Writes for Passing {
    fn forward(&self, call: Call) -> BoxFuture<'_, Answer> {
        Box::pin(pass(&self.0, call))
    }
}

impl Proxy {
    /// Fails if the default app version has no manifest.
    pub fn new(settings: Settings, upstream: Upstream, writes: Arc<dyn Writes>) -> Result<Self, VersionError> {
        let default_app = match &settings.undeclared {
            Undeclared::Default(app) => Some(settings.apps.resolve(&app.to_string())?.clone()),
            Undeclared::Pass | Undeclared::Reject => None,
        };
        let filters = settings.apps.iter().any(|app| app.replicates.is_some());
        Ok(Self {
            settings,
            upstream,
            writes,
            default_app,
            filters,
        })
    }
}

/// Does with a request what its route asks for. Only what is looked into gets a future of its own.
pub(super) fn dispatch(proxy: Arc<Proxy>, mut call: Call) -> impl Future<Output = Answer> + Send + 'static {
    if matches!(call.route, Route::Changes { .. } | Route::Server) {
        mark_live(&mut call);
    }
    // CouchDB answers when the job is done, which may take hours.
    if call.route == Route::Replicate {
        call.parts.extensions.insert(LiveFeed);
    }
    // A route a line: what has to be looked into, and by whom.
    match call.route {
        Route::Changes { .. } if call.versioned && proxy.filters => changes(proxy, call).boxed().left_future(),
        _ if proxy.filters && replicate::concerns(&call) => replicate::forward(proxy, call).boxed().left_future(),
        _ if call.versioned && call.route.writes(&call.method) => {
            async move { proxy.writes.forward(call).await }.boxed().left_future()
        }
        _ => pass(&proxy.upstream, call).right_future(),
    }
}

async fn changes(proxy: Arc<Proxy>, call: Call) -> Answer {
    let mut answer = match call.app.clone() {
        Some(app) => changes::forward(&proxy.upstream, call, &app, proxy.settings.filter_limit).await?,
        None => pass(&proxy.upstream, call).await?,
    };
    version::vary(&proxy, &mut answer);
    Ok(answer)
}

/// Streams both ways and looks at nothing.
pub(super) fn pass(upstream: &Upstream, call: Call) -> impl Future<Output = Answer> + Send + use<> {
    upstream.send(call.into_request()).err_into()
}

/// Marks what may stay silent; `_db_updates` has live feeds too.
fn mark_live(call: &mut Call) {
    let Some(query) = call.parts.uri.query() else { return };
    let feed = query_pairs(query)
        .filter(|(key, _)| key.eq_ignore_ascii_case("feed"))
        .last();
    let live = |feed: &str| matches!(feed, "continuous" | "live" | "longpoll" | "eventsource");
    if call.method != Method::HEAD && feed.is_some_and(|(_, feed)| live(&feed)) {
        call.parts.extensions.insert(LiveFeed);
    }
}
