//! Checkpoints follow the filter: `_local` documents, and the `uuid` of the server, belong to those who see the same.
//!
//! A replicator keeps how far it has come under an id that knows nothing of the filter of an app version. If a client came back
//! with another filter, it would go on from where the first ended and never see what that had left out. So both are told
//! apart by the tag of the filter, and not by the app version: an update that sees the same goes on where it was.

mod json;
mod listing;
mod names;

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, Uri,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, LOCATION},
    uri::PathAndQuery,
};

use super::{
    Answer, Call, Error, Proxy,
    encoding::{decompress, repost},
    service::pass,
};
use crate::{
    couch::Route,
    schema::Filter,
    upstream::{
        Body, Upstream,
        body::{self, Peeked, full},
    },
};
use json::Step::{self, Each, Member};
use names::Names;

const DESTINATION: HeaderName = HeaderName::from_static("destination");

/// What is to be changed must not come compressed.
const PLAIN: HeaderValue = HeaderValue::from_static("identity");

/// The most that is read of a request. A checkpoint is short: of 50 sessions at most, tens of KB.
const LIMIT: usize = 1 << 20;

/// The most that is read of an answer. CouchDB takes documents of 8 MB by default.
const ANSWER_LIMIT: usize = 64 << 20;

/// Where CouchDB's answers name documents, or the server.
const ONE: &[&[Step]] = &[&[Member("_id")], &[Member("id")]];
const ROWS: &[&[Step]] = &[&[Each, Member("id")]];
const SERVER: &[&[Step]] = &[&[Member("uuid")]];

/// The filter of a request that reads or writes checkpoints, if there is one.
///
/// A `_local` document is addressed by the path, and written by `_bulk_docs`, by `POST /db` and as the destination of a `COPY`
/// as well (measured on 3.5.0). `_bulk_get` and `_revs_diff` know none.
pub(super) fn filter(call: &Call) -> Option<&Filter> {
    let concerns = match call.route {
        Route::Root => true,
        Route::Local { .. } | Route::LocalDocs { .. } | Route::PostDocument { .. } => call.versioned,
        Route::BulkDocs { .. } => call.versioned && call.method == Method::POST,
        Route::Document { .. } | Route::DesignDocument { .. } => call.versioned && call.method.as_str() == "COPY",
        _ => false,
    };
    call.app.as_ref().filter(|_| concerns)?.replicates.as_ref()
}

/// Forwards such a request under the names of its filter, and answers under the client's.
pub(super) async fn forward(proxy: Arc<Proxy>, mut call: Call) -> Answer {
    let app = call.app.clone();
    let Some(filter) = app.as_ref().and_then(|app| app.replicates.as_ref()) else {
        return pass(&proxy.upstream, call).await;
    };
    let names = Names::of(filter);
    if matches!(call.route, Route::LocalDocs { .. }) {
        return listing::forward(&proxy.upstream, call, &names).await;
    }
    let ways = stored(&mut call, &names).await?;
    let is_head = call.parts.method == Method::HEAD;
    if !ways.is_empty() {
        call.parts.headers.insert(ACCEPT_ENCODING, PLAIN);
    }
    let is_root = call.route == Route::Root;
    let mut answer = if call.versioned && call.route.writes(&call.method) {
        proxy.writes.forward(call).await?
    } else {
        pass(&proxy.upstream, call).await?
    };
    if ways.is_empty() || !answer.status().is_success() {
        return Ok(answer);
    }
    relocate(answer.headers_mut(), &names);
    if is_head {
        shorten(answer.headers_mut(), names.longer());
        return Ok(answer);
    }
    let other = |name: &str| {
        if is_root {
            Some(names.uuid(name))
        } else {
            names.shown(name)
        }
    };
    let shown = |text: &[u8]| ways.iter().find_map(|way| json::replace(text, way, other));
    edited(&proxy.upstream, answer, shown).await
}

/// Puts the names of CouchDB into a request; answers where those in its answer will be.
async fn stored(call: &mut Call, names: &Names<'_>) -> Result<&'static [&'static [Step]], Error> {
    let is_redirected = call.method.as_str() == "COPY" && redirect(&mut call.parts.headers, names);
    let ways = match call.route.clone() {
        Route::Root if call.method == Method::GET => SERVER,
        Route::Local { .. } => {
            let (path, query) = (call.parts.uri.path(), call.parts.uri.query());
            let (path, query) = (names.stored_path(path), query.map(str::to_owned));
            retarget(call, path, query)?;
            if call.method == Method::PUT {
                rename(call, &[Member("_id")], names).await?;
            }
            ONE
        }
        Route::PostDocument { .. } if rename(call, &[Member("_id")], names).await? => ONE,
        Route::BulkDocs { .. } if rename(call, &[Member("docs"), Each, Member("_id")], names).await? => ROWS,
        _ if is_redirected => ONE,
        _ => &[],
    };
    Ok(ways)
}

/// Renames the documents in a body; false if it holds none to be renamed.
///
/// One that is too long goes on as it is. For a `PUT` that does not matter, CouchDB goes by its path (transcripts, documents 25);
/// and no replicator posts its checkpoint among documents, let alone among so many.
async fn rename(call: &mut Call, way: &[Step], names: &Names<'_>) -> Result<bool, Error> {
    let Some(text) = read(call).await?.filter(|text| may_name_local(text)) else {
        return Ok(false);
    };
    let renamed = json::replace(&text, way, |id| names.stored(id));
    let is_renamed = renamed.is_some();
    if let Some(renamed) = renamed {
        repost(call, renamed);
    }
    Ok(is_renamed)
}

/// The whole body, unpacked, if it is not too long and can be; it stays where it is.
async fn read(call: &mut Call) -> Result<Option<Bytes>, Error> {
    let body = std::mem::replace(&mut call.body, body::empty());
    match body::peek(body, LIMIT).await? {
        Peeked::Whole(sent) => {
            call.body = full(sent.clone());
            // What cannot be unpacked is for CouchDB to refuse.
            Ok(decompress(&call.parts.headers, sent, LIMIT).ok())
        }
        Peeked::Longer(body) => {
            call.body = body;
            Ok(None)
        }
    }
}

/// Most bodies name none, and looking for the word is far cheaper than parsing them. Only with `\u` can it be spelt otherwise.
fn may_name_local(text: &[u8]) -> bool {
    [&b"_local"[..], b"\\u"]
        .iter()
        .any(|word| memchr::memmem::find(text, word).is_some())
}

/// Turns a `COPY` to the stored name of its destination; false if that is no `_local` document.
fn redirect(headers: &mut HeaderMap, names: &Names<'_>) -> bool {
    let destination = headers
        .get(DESTINATION)
        .and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    let stored = destination.and_then(|destination| names.stored_destination(destination));
    let Some(stored) = stored.and_then(|stored| HeaderValue::from_bytes(stored.as_bytes()).ok()) else {
        return false;
    };
    headers.insert(DESTINATION, stored);
    true
}

/// An answer with another body, if `other` makes one of it; what is not as CouchDB's answers are stays as it is. The type says
/// nothing: to who does not ask for JSON it is `text/plain`.
async fn edited(upstream: &Upstream, answer: Response<Body>, other: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Answer {
    if !answer.status().is_success() || answer.headers().contains_key(CONTENT_ENCODING) {
        return Ok(answer);
    }
    let (mut head, body) = answer.into_parts();
    let body = body::read(body, ANSWER_LIMIT).await;
    let body = body.map_err(|error| upstream.broken(error))?;
    let body = match other(&body) {
        Some(other) => {
            head.headers.remove(CONTENT_LENGTH);
            full(other)
        }
        None => full(body),
    };
    Ok(Response::from_parts(head, body))
}

fn relocate(headers: &mut HeaderMap, names: &Names<'_>) {
    let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
    let shown = location.and_then(|location| names.shown_location(location));
    if let Some(shown) = shown.and_then(|shown| HeaderValue::from_str(&shown).ok()) {
        headers.insert(LOCATION, shown);
    }
}

/// The length that the body of a `GET` would have.
fn shorten(headers: &mut HeaderMap, by: usize) {
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if let Some(length) = length.and_then(|length| length.checked_sub(by)) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Turns a call to another path and query.
fn retarget(call: &mut Call, mut path: String, query: Option<String>) -> Result<(), Error> {
    if let Some(query) = query {
        path.push('?');
        path.push_str(&query);
    }
    let path = PathAndQuery::from_maybe_shared(path).map_err(|_| Error::BadRequest("invalid_url_encoding"))?;
    call.parts.uri = Uri::from(path);
    Ok(())
}
