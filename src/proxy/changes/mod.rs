//! `_changes` as an app version sees it.

use std::sync::Arc;

use super::{
    Call, Proxy,
    etag::conditional,
    service::{Answer, pass},
};

mod doc_ids;
mod pages;
mod query;
mod rows;
mod selector;

use query::{Kind, Query};

/// Where documents that an app does not see are taken out of a feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Changes {
    /// By CouchDB, which runs a selector and reads every document for it.
    Selector,
    /// Here, row by row: cheaper for CouchDB, and in all (figures: `bench/README.md`).
    #[default]
    Rows,
}

/// Forwards a request for `_changes` so that only what the filter admits is answered.
///
/// CouchDB takes one filter only. Where the client brings none, or a selector, ours can be that one or part of it; of a list of ids
/// the hidden ones are taken; design documents are never hidden; beside any other filter rows are dropped here. What CouchDB
/// would refuse is left to it, or refused in its words where the body has to be understood first.
pub(super) async fn forward(proxy: Arc<Proxy>, call: Call) -> Answer {
    let app = call.app.clone();
    let Some(filter) = app.as_ref().and_then(|app| app.replicates.as_ref()) else {
        return pass(&proxy.upstream, call).await;
    };
    let query = Query::parse(call.parts.uri.query().unwrap_or_default());
    let by_selector = proxy.settings.changes == Changes::Selector || goes_back(&query);
    let upstream = &proxy.upstream;
    match (call.method.as_str(), query.filter.as_str()) {
        ("GET" | "HEAD" | "POST", "_doc_ids") => {
            let call = doc_ids::narrow(call, filter).await?;
            conditional(upstream, call, filter.tag()).await
        }
        (_, "_design") => pass(upstream, call).await,
        // Only the head is asked for, and that says nothing of the filter.
        ("HEAD", _) => conditional(upstream, call, filter.tag()).await,
        ("GET" | "POST", "") | ("POST", "_selector") if by_selector => {
            let selected = query.filter == "_selector";
            let limit = proxy.settings.filter_limit;
            let (call, selector) = selector::combine(call, selected, filter.selector(), limit).await?;
            let query = Query {
                filter: "_selector".to_owned(),
                ..query
            };
            if query.is_counted_here() {
                return rows::forward(&proxy, call, query, filter).await;
            }
            conditional(upstream, call, selector.tag()).await
        }
        ("GET" | "POST", _) => rows::forward(&proxy, call, query, filter).await,
        _ => pass(upstream, call).await,
    }
}

/// Whether a feed that is asked for like this may stay silent for any time.
pub(super) fn is_live(query: &str) -> bool {
    Query::parse(query).kind != Kind::Normal
}

/// A limited feed from the end cannot be taken up again where a page ended: CouchDB ignores its `since`. It alone can fill that page.
fn goes_back(query: &Query) -> bool {
    query.descending && query.limit.is_some()
}
