//! The filter of an app version as a selector, which CouchDB runs together with a selector of the client.

use http::{HeaderValue, Method, header::CONTENT_TYPE};

use super::{
    super::{
        Call, Error,
        encoding::{JSON, Members, decompress, is_json, members, repost},
    },
    query::with,
};
use crate::{
    couch::{Selector, route::METHOD_OVERRIDE},
    upstream::body,
};

/// Combines what a client posts with our selector; its own selector counts only if its filter says so.
pub(super) async fn combine(
    mut call: Call,
    selected: bool,
    ours: &Selector,
    limit: usize,
) -> Result<(Call, Selector), Error> {
    // CouchDB ignores the body of a GET.
    if call.method == Method::GET {
        return Ok((select(call, &Members::new(), ours)?, ours.clone()));
    }
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
    call.parts.uri =
        with(&call.parts.uri, &[("filter", "_selector")]).ok_or(Error::BadRequest("invalid_url_encoding"))?;
    post(call, &members)
}

/// Turns a request into a `POST` of these members.
pub(super) fn post(mut call: Call, members: &Members<'_>) -> Result<Call, Error> {
    let text = serde_json::to_vec(members).map_err(|_| Error::BadRequest("invalid UTF-8 JSON"))?;
    repost(&mut call, text);
    call.method = Method::POST;
    call.parts.method = Method::POST;
    let headers = &mut call.parts.headers;
    // A GET that says it is a GET would be one again as soon as it is a POST.
    headers.remove(METHOD_OVERRIDE);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok(call)
}
