//! Reads of an app version that is shown some classes only: `_find`, `_all_docs`, views and `_bulk_get`.
//!
//! A document is never refused to who names its id: `GET` of a document and of attachments pass untouched.

mod bulk_get;
mod census;
mod find;
mod listing;
mod queries;
mod query;
mod rows;

use std::sync::Arc;

use bytes::Bytes;
use http::header::ACCEPT_ENCODING;

use super::{Answer, Call, Error, Proxy, encoding::decompress, service::pass};
use crate::{couch::Route, upstream::body};

pub(super) use census::Censuses;

/// The most that is read of a posted body: ids by the hundred thousand. More is refused with 413.
const LIMIT: usize = 16 << 20;

/// Forwards a read so that only what the app is shown is answered.
pub(super) async fn forward(proxy: Arc<Proxy>, call: Call) -> Answer {
    let (upstream, censuses) = (&proxy.upstream, &proxy.censuses);
    let app = call.app.clone();
    let Some((app, filter)) = app.as_ref().and_then(|app| Some((app, app.reads.as_ref()?))) else {
        return pass(upstream, call).await;
    };
    match call.route {
        Route::Find { .. } => find::forward(upstream, call, filter).await,
        Route::AllDocs { .. } | Route::View { .. } => listing::forward(upstream, censuses, call, filter).await,
        Route::AllDocsQueries { .. } | Route::ViewQueries { .. } => {
            queries::forward(upstream, censuses, call, filter).await
        }
        Route::BulkGet { .. } => bulk_get::forward(upstream, call, filter, app.replicates.as_ref()).await,
        _ => pass(upstream, call).await,
    }
}

/// The posted body in plain; none if there is none, which CouchDB refuses. The call keeps it as it was sent.
async fn posted(call: &mut Call) -> Result<Option<Bytes>, Error> {
    let sent = body::read(std::mem::replace(&mut call.body, body::empty()), LIMIT).await?;
    if sent.is_empty() {
        return Ok(None);
    }
    call.body = body::full(sent.clone());
    decompress(&call.parts.headers, sent, LIMIT).map(Some)
}

/// Has the answer sent in plain, whatever stands between: it is to be looked into.
fn in_plain(call: &mut Call) {
    call.parts.headers.remove(ACCEPT_ENCODING);
}
