//! From a route to what is done with it: pass, write or changes.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{Method, Response};

use super::{Call, Error, Settings, Undeclared, changes, version};
use crate::{
    couch::{Route, route::query_pairs},
    schema::{AppManifest, VersionError},
    upstream::{Body, LiveFeed, Upstream},
};

/// What is done with a request that may write ordinary documents of a configured database ([`Route::writes`]).
pub trait Writes: Send + Sync + 'static {
    /// Forwards the request and gives the answer the client gets.
    fn forward(&self, call: Call) -> BoxFuture<'_, Result<Response<Body>, Error>>;
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
    fn forward(&self, call: Call) -> BoxFuture<'_, Result<Response<Body>, Error>> {
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
        let filters = settings.apps.iter().any(|app| app.selector.is_some());
        Ok(Self {
            settings,
            upstream,
            writes,
            default_app,
            filters,
        })
    }
}

/// Does with a request what its route asks for.
pub(super) async fn dispatch(proxy: Arc<Proxy>, mut call: Call) -> Result<Response<Body>, Error> {
    match call.route {
        Route::Changes { .. } => {
            mark_live(&mut call);
            let app = call.app.clone();
            let varies = call.versioned && proxy.filters;
            let mut answer = match app.as_deref().and_then(|app| Some((app, app.selector.as_ref()?))) {
                Some((app, selector)) => {
                    changes::forward(&proxy.upstream, call, app, selector, proxy.settings.filter_limit).await?
                }
                None => pass(&proxy.upstream, call).await?,
            };
            if varies {
                version::vary(&proxy, &mut answer);
            }
            Ok(answer)
        }
        // `_db_updates` has live feeds too.
        Route::Server => {
            mark_live(&mut call);
            pass(&proxy.upstream, call).await
        }
        _ if call.versioned && call.route.writes(&call.method) => proxy.writes.forward(call).await,
        _ => pass(&proxy.upstream, call).await,
    }
}

/// Streams both ways and looks at nothing.
pub(super) async fn pass(upstream: &Upstream, call: Call) -> Result<Response<Body>, Error> {
    Ok(upstream.send(call.into_request()).await?)
}

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
