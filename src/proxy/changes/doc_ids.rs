//! `filter=_doc_ids` without the ids that an app does not see.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};

use super::{
    super::{
        Call, Error,
        encoding::{decompress, is_json, members},
    },
    query::instead,
    selector::post,
};
use crate::{couch::route::query_pairs, schema::Filter, upstream::body};

/// The most that is read of a list of ids: some 400,000 of them.
const LIMIT: usize = 16 << 20;

/// Takes hidden ids from the request: from what is posted, else from the query.
pub(super) async fn narrow(call: Call, filter: &Filter) -> Result<Call, Error> {
    match call.method.as_str() {
        "POST" => in_body(call, filter).await,
        _ => in_query(call, filter),
    }
}

async fn in_body(mut call: Call, filter: &Filter) -> Result<Call, Error> {
    if !is_json(&call.parts.headers) {
        return Err(Error::BadContentType(
            "Content-Type must be application/json".to_owned(),
        ));
    }
    let sent = body::read(std::mem::replace(&mut call.body, body::empty()), LIMIT).await?;
    let posted = decompress(&call.parts.headers, sent, LIMIT)?;
    let mut members = members(&posted)?;
    let narrowed = narrowed(members.get("doc_ids").map_or("null", |ids| ids.get()), filter)?;
    members.insert("doc_ids".into(), &narrowed);
    post(call, &members)
}

/// CouchDB takes the first of several, and the last is what it is given here: only one is left.
fn in_query(mut call: Call, filter: &Filter) -> Result<Call, Error> {
    let query = call.parts.uri.query().unwrap_or_default();
    let ids = query_pairs(query).find(|(key, _)| key == "doc_ids");
    // None at all is refused by CouchDB.
    let Some((_, ids)) = ids else { return Ok(call) };
    let narrowed = narrowed(&ids, filter)?;
    let uri = instead(&call.parts.uri, &[("doc_ids", narrowed.get())]);
    call.parts.uri = uri.ok_or(Error::BadRequest("invalid_url_encoding"))?;
    Ok(call)
}

/// The list without hidden ids. Refused in CouchDB's words if it is no list of ids.
fn narrowed(ids: &str, filter: &Filter) -> Result<Box<RawValue>, Error> {
    let ids: &RawValue = serde_json::from_str(ids).map_err(|_| Error::BadRequest("invalid UTF-8 JSON"))?;
    let refused = |_| Error::BadRequest("`doc_ids` filter parameter is not a list of doc ids.");
    let mut ids: Vec<Cow<'_, str>> = serde_json::from_str(ids.get()).map_err(refused)?;
    ids.retain(|id| filter.admits(id));
    to_raw_value(&ids).map_err(refused)
}
