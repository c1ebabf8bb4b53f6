//! Checkpoints follow the filter: `_local` documents, and the `uuid` of the server, belong to those who see the same.
//!
//! A replicator keeps how far it has come under an id that knows nothing of the filter of an app version. If a client came back
//! with another filter, it would go on from where the first ended and never see what that had left out. So both are told
//! apart by the tag of the filter, and not by the app version: an update that sees the same goes on where it was.

mod json;
mod names;

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, Uri,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, LOCATION, TRAILER},
    uri::PathAndQuery,
};

use super::{Answer, Call, Error, Proxy, encoding::decompress, service::pass};
use crate::{
    couch::Route,
    schema::Filter,
    upstream::{
        self, Body, Upstream,
        body::{self, Peeked, full},
    },
};
use json::Step::{self, Each, Member};
use names::Names;

const DESTINATION: HeaderName = HeaderName::from_static("destination");

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
/// as well (measured on 3.5.0). `_bulk_get` and `_revs_diff` know none. `_local_docs` is left as it is: no replicator reads it, and
/// whoever does is told there whose checkpoints they are.
pub(super) fn filter(call: &Call) -> Option<&Filter> {
    let concerns = match call.route {
        Route::Root => true,
        Route::Local { .. } | Route::PostDocument { .. } => call.versioned,
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
    let ways = stored(&mut call, &names).await?;
    let is_head = call.parts.method == Method::HEAD;
    if !ways.is_empty() {
        // What is to be changed must not come compressed.
        let plain = HeaderValue::from_static("identity");
        call.parts.headers.insert(ACCEPT_ENCODING, plain);
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
    if is_root {
        return shown(&proxy.upstream, answer, ways, |uuid| Some(names.uuid(uuid))).await;
    }
    if is_head {
        shorten(answer.headers_mut(), names.longer());
        return Ok(answer);
    }
    shown(&proxy.upstream, answer, ways, |id| names.shown(id)).await
}

/// Puts the names of CouchDB into a request; answers where those in its answer will be.
async fn stored(call: &mut Call, names: &Names<'_>) -> Result<&'static [&'static [Step]], Error> {
    let is_redirected = call.method.as_str() == "COPY" && redirect(&mut call.parts.headers, names);
    let ways = match call.route.clone() {
        Route::Root if call.method == Method::GET => SERVER,
        Route::Local { .. } => {
            let path = names.stored_path(call.parts.uri.path());
            call.parts.uri = with_path(&call.parts.uri, path).ok_or(Error::BadRequest("invalid_url_encoding"))?;
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
    let body = std::mem::replace(&mut call.body, body::empty());
    let sent = match body::peek(body, LIMIT).await? {
        Peeked::Whole(sent) => sent,
        Peeked::Longer(body) => {
            call.body = body;
            return Ok(false);
        }
    };
    // What cannot be unpacked is for CouchDB to refuse.
    let text = decompress(&call.parts.headers, sent.clone(), LIMIT).unwrap_or_default();
    let renamed = may_name_local(&text).then(|| json::replace(&text, way, |id| names.stored(id)));
    let Some(renamed) = renamed.flatten() else {
        call.body = full(sent);
        return Ok(false);
    };
    call.body = full(renamed);
    for stale in [CONTENT_LENGTH, CONTENT_ENCODING, TRAILER] {
        call.parts.headers.remove(stale);
    }
    Ok(true)
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

/// Puts the client's names into an answer. One that is not as CouchDB's are stays as it is. Its type says nothing: to who does
/// not ask for JSON it is `text/plain`.
async fn shown(
    upstream: &Upstream,
    answer: Response<Body>,
    ways: &[&[Step]],
    other: impl Fn(&str) -> Option<String>,
) -> Answer {
    let (mut head, body) = answer.into_parts();
    let body = body::read(body, ANSWER_LIMIT).await;
    let body = body.map_err(|source| upstream::Error::Broken {
        name: upstream.name.clone(),
        source: source.into(),
    })?;
    let body = match ways.iter().find_map(|way| json::replace(&body, way, &other)) {
        Some(replaced) => {
            head.headers.remove(CONTENT_LENGTH);
            full(replaced)
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

/// The same target with another path.
fn with_path(uri: &Uri, mut path: String) -> Option<Uri> {
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    Some(Uri::from(PathAndQuery::from_maybe_shared(path).ok()?))
}
