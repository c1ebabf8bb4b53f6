//! The filter of an app version as a selector, which CouchDB runs together with a selector of the client.

use http::{
    HeaderMap, HeaderValue, Method,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, TRAILER, TRANSFER_ENCODING},
};
use serde_json::value::RawValue;

use super::{
    super::{
        Call, Error,
        encoding::{Members, decompress},
    },
    query::with,
};
use crate::{
    couch::{Selector, route::METHOD_OVERRIDE},
    upstream::body,
};

const JSON: &str = "application/json";

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
    call.body = body::full(text);
    call.method = Method::POST;
    call.parts.method = Method::POST;
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

/// CouchDB compares what stands before a `;` and nothing else.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    content_type.split(|byte| *byte == b';').find(|part| !part.is_empty()) == Some(JSON.as_bytes())
}

pub(super) fn members(posted: &[u8]) -> Result<Members<'_>, Error> {
    serde_json::from_slice::<Members<'_>>(posted).map_err(|_| {
        // What CouchDB's own parser might yet accept must not reach it: it could name another selector.
        let is_json = serde_json::from_slice::<&RawValue>(posted).is_ok();
        Error::BadRequest(if is_json {
            "Request body must be a JSON object"
        } else {
            "invalid UTF-8 JSON"
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_kept_as_they_were_written() {
        let members = members(br#" {"limit": 1.0,"\u0073elector":{ "a":1e2 },"x":[1, 2]} "#).unwrap();
        assert_eq!(
            serde_json::to_string(&members).unwrap(),
            r#"{"limit":1.0,"selector":{ "a":1e2 },"x":[1, 2]}"#
        );
    }

    #[test]
    fn bodies_are_refused_in_the_words_of_couchdb() {
        let reason = |posted: &[u8]| members(posted).unwrap_err().to_string();
        assert_eq!(reason(b"[]"), "Request body must be a JSON object");
        for posted in [&b"{"[..], b"{}x", b"\xff", b"{\"a\":\"\xff\"}"] {
            assert_eq!(reason(posted), "invalid UTF-8 JSON");
        }
    }
}
