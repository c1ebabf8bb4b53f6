//! `_changes` as an app version sees it.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderValue,
    header::{ETAG, IF_NONE_MATCH},
};

use super::{
    Call, Proxy,
    headers::names,
    service::{Answer, pass},
};
use crate::{schema::Filter, upstream::Upstream};

mod doc_ids;
mod pages;
mod query;
mod rows;
mod selector;

use query::Query;

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
pub(super) async fn forward(proxy: &Arc<Proxy>, call: Call, filter: &Filter) -> Answer {
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
            conditional(upstream, call, selector.tag()).await
        }
        ("GET" | "POST", _) => rows::forward(proxy, call, query, filter).await,
        _ => pass(upstream, call).await,
    }
}

/// A limited feed from the end cannot be taken up again where a page ended: CouchDB ignores its `since`. It alone can fill that page.
fn goes_back(query: &Query) -> bool {
    query.descending && query.limit.is_some()
}

/// Forwards with ETags that hold for one filter: CouchDB's is the database's, the same for all of them (transcripts,
/// changes 56-58).
async fn conditional(upstream: &Upstream, mut call: Call, tag: &str) -> Answer {
    untag(&mut call.parts.headers, tag);
    let mut answer = pass(upstream, call).await?;
    let tagged = answer.headers().get(ETAG).and_then(|etag| {
        let opaque = etag.to_str().ok()?.strip_suffix('"')?;
        HeaderValue::from_str(&format!("{opaque}-{tag}\"")).ok()
    });
    if let Some(tagged) = tagged {
        answer.headers_mut().insert(ETAG, tagged);
    }
    Ok(answer)
}

/// Leaves of `If-None-Match` what was answered under this filter, as CouchDB named it.
fn untag(headers: &mut HeaderMap, tag: &str) {
    if !headers.contains_key(IF_NONE_MATCH) {
        return;
    }
    let suffix = format!("-{tag}\"");
    let ours: Vec<String> = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .flat_map(names)
        .filter_map(|etag| Some(format!("{}\"", etag.strip_suffix(&suffix)?)))
        .collect();
    match HeaderValue::from_str(&ours.join(", ")) {
        Ok(list) if !ours.is_empty() => headers.insert(IF_NONE_MATCH, list),
        _ => headers.remove(IF_NONE_MATCH),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_etags_of_this_filter_are_left() {
        let mut headers = HeaderMap::new();
        headers.insert(
            IF_NONE_MATCH,
            HeaderValue::from_static(r#""A-12345678", W/"B-12345678","C", "D-87654321""#),
        );
        untag(&mut headers, "12345678");
        assert_eq!(headers[IF_NONE_MATCH], r#""A", W/"B""#);
        untag(&mut headers, "12345678");
        assert!(!headers.contains_key(IF_NONE_MATCH));
    }
}
