//! `_changes`, seen through the selector of an app version.

use http::{
    HeaderValue, Method, Uri,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, TRAILER, TRANSFER_ENCODING},
    uri::PathAndQuery,
};

use super::{
    Call, Error,
    encoding::{JSON, Members, decompress, is_json, members},
    etag::conditional,
    service::{Answer, pass},
};
use crate::{
    couch::{
        Selector,
        route::{METHOD_OVERRIDE, query_pairs},
    },
    schema::{AppManifest, Filter},
    upstream::{Upstream, body},
};

/// Forwards a request for `_changes` so that only what the app's selector lets pass is answered.
///
/// Without a filter the request becomes a `POST` with `filter=_selector`; a filter by `_selector` is combined with
/// ours. Any other is refused: CouchDB takes one filter only. What CouchDB would refuse is left to it, or refused in
/// its words where the body has to be understood first.
pub(super) async fn forward(upstream: &Upstream, call: Call, app: &AppManifest, limit: usize) -> Answer {
    let Some(selector) = app.replicates.as_ref().map(Filter::selector) else {
        return pass(upstream, call).await;
    };
    let filter = filter(call.parts.uri.query().unwrap_or_default());
    let (call, selector) = match (call.method.as_str(), filter.as_str()) {
        // Only the head is asked for, and that says nothing of the filter.
        ("HEAD", "") => (call, selector.clone()),
        // CouchDB ignores the body of a GET.
        ("GET", "") => (select(call, &Members::new(), selector)?, selector.clone()),
        ("POST", "" | "_selector") => combine(call, filter == "_selector", selector, limit).await?,
        // `Selector must be specified in POST payload`, or 405.
        ("GET" | "HEAD", "_selector") => return pass(upstream, call).await,
        ("GET" | "HEAD" | "POST", _) => {
            return Err(Error::UnsupportedFilter {
                filter,
                app: app.to_string(),
            });
        }
        _ => return pass(upstream, call).await,
    };
    conditional(upstream, call, selector.tag()).await
}

/// The filter CouchDB goes by: the last one, whatever the case of its key (`chttpd_db:parse_changes_query`).
fn filter(query: &str) -> String {
    let filters = query_pairs(query).filter(|(key, _)| key.eq_ignore_ascii_case("filter"));
    filters
        .last()
        .map(|(_, filter)| filter.into_owned())
        .unwrap_or_default()
}

/// Combines what a client posts with our selector; its own selector counts only if its filter says so.
async fn combine(mut call: Call, selected: bool, ours: &Selector, limit: usize) -> Result<(Call, Selector), Error> {
    if !is_json(&call.parts.headers) {
        return Err(Error::BadContentType(format!("Content-Type must be {JSON}")));
    }
    let posted = body::read(std::mem::replace(&mut call.body, body::empty()), limit).await?;
    let posted = decompress(&call.parts.headers, posted, limit)?;
    if posted.is_empty() && !selected {
        return Ok((select(call, &Members::new(), ours)?, ours.clone()));
    }
    let mut members = members(&posted)?;
    if !selected {
        // CouchDB reads the body without looking into it.
        members.clear();
        return Ok((select(call, &members, ours)?, ours.clone()));
    }
    let Some(theirs) = members
        .remove("selector")
        .filter(|selector| selector.get().starts_with('{'))
    else {
        return Err(Error::BadRequest("Selector error: expected a JSON object"));
    };
    let both = ours.and(theirs).map_err(|_| Error::BadRequest("invalid UTF-8 JSON"))?;
    Ok((select(call, &members, &both)?, both))
}

/// Turns a request into a `POST` with `filter=_selector`, this selector and these other members.
fn select(mut call: Call, others: &Members<'_>, selector: &Selector) -> Result<Call, Error> {
    let mut members = others.clone();
    members.insert("selector".into(), selector.json());
    let text = serde_json::to_vec(&members).map_err(|_| Error::BadRequest("invalid UTF-8 JSON"))?;
    call.body = body::full(text);
    call.method = Method::POST;
    call.parts.method = Method::POST;
    call.parts.uri = filtered(&call.parts.uri).ok_or(Error::BadRequest("invalid_url_encoding"))?;
    let headers = &mut call.parts.headers;
    // A GET that says it is a GET would be one again as soon as it is a POST.
    let method_override = HeaderName::from_static(METHOD_OVERRIDE);
    for stale in [
        method_override,
        CONTENT_LENGTH,
        CONTENT_ENCODING,
        TRANSFER_ENCODING,
        TRAILER,
    ] {
        headers.remove(stale);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok(call)
}

/// The same target with `filter=_selector` as its last, and so its valid, filter.
fn filtered(uri: &Uri) -> Option<Uri> {
    let path = uri.path_and_query()?;
    let joint = if path.query().is_some() { '&' } else { '?' };
    let path = PathAndQuery::from_maybe_shared(format!("{path}{joint}filter=_selector")).ok()?;
    Some(Uri::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_filter_counts_whatever_its_spelling() {
        for (query, expected) in [
            ("", ""),
            ("since=0", ""),
            ("filter=_design", "_design"),
            ("FILTER=_design", "_design"),
            ("limit=1;filter=_design", "_design"),
            ("filter=a/b&Filter=_selector", "_selector"),
            ("filter=_design&filter=", ""),
            ("f%69lter=%5Fdoc_ids", "_doc_ids"),
        ] {
            assert_eq!(filter(query), expected, "{query}");
        }
    }

    #[test]
    fn the_filter_is_appended_to_the_query_as_it_was() {
        for (from, to) in [
            ("/d/_changes", "/d/_changes?filter=_selector"),
            (
                "/d/_changes?since=3-g%22+&filter=",
                "/d/_changes?since=3-g%22+&filter=&filter=_selector",
            ),
        ] {
            assert_eq!(filtered(&Uri::from_static(from)).unwrap(), to);
        }
    }
}
