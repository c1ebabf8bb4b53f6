//! `_find` and `_explain`: one more condition in the selector.

use http::Method;
use serde_json::value::RawValue;

use super::{
    super::{
        Answer, Call, Error,
        encoding::{is_json, members, repost},
        service::pass,
    },
    posted,
};
use crate::{couch::Selector, schema::Filter, upstream::Upstream};

/// Forwards the request with a selector that lets pass what both the client's and ours do. CouchDB refuses a request
/// without one.
pub(super) async fn forward(upstream: &Upstream, mut call: Call, filter: &Filter) -> Answer {
    if call.method != Method::POST || !is_json(&call.parts.headers) {
        return pass(upstream, call).await;
    }
    let Some(text) = posted(&mut call).await? else {
        return pass(upstream, call).await;
    };
    let mut members = members(&text)?;
    let unreadable = |_| Error::BadRequest("invalid UTF-8 JSON");
    if let Some(theirs) = members
        .get("selector")
        .filter(|selector| selector.get().starts_with('{'))
    {
        let both = condition(filter)
            .and_then(|ours| ours.and(theirs))
            .map_err(unreadable)?;
        members.insert("selector".into(), both.json());
        let text = serde_json::to_vec(&members).map_err(unreadable)?;
        repost(&mut call, text);
    }
    pass(upstream, call).await
}

/// The filter's selector, in a form that leaves CouchDB the choice of every index.
///
/// JSON indexes mind no condition on `_id`. Full-text ones (`text`, `nouveau`) turn `$not` with a `$regex` into a query for
/// documents whose `_id` is no text, so for none, and a field of a condition into one that the index must have
/// (`mango_selector_text:convert`, `mango_idx_text:indexable_fields`, 3.5.0). Beside two conditions that no document
/// fulfils, and that are asked of the index as "has an `_id`" and "has none", it neither narrows the query nor demands a
/// field: what the index finds is then held against the selector itself.
fn condition(filter: &Filter) -> Result<Selector, serde_json::Error> {
    let ours = filter.selector();
    let text = format!(r#"{{"$or":[{ours},{{"_id":{{"$type":"array"}}}},{{"_id":{{"$exists":false}}}}]}}"#);
    RawValue::from_string(text).map(|json| Selector::new(json.into()))
}
