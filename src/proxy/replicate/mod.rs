//! Jobs of replication, given to `_replicate` or stored in `_replicator`: CouchDB's own replicator runs them past the proxy, so
//! what their app is to see has to stand in them.
//!
//! A job that reads a configured database from the upstream, or from this proxy without saying as which version, gets the selector
//! of the version it was given as, together with its own; of its `doc_ids` those are taken out that are not to be seen. Jobs that
//! push from elsewhere, and those whose source declares a version to the proxy, stay as they are; see [`job::Giver`]. Where it
//! cannot be told which of them a job is, and where a filter is not to be combined, it is refused: never is an app sent what it
//! must not see, nor kept from what it should.
//!
//! A client that declares no version gives a job as the one that the database of its source says, if it says one.
//!
//! What is stored is what is read back: such a job has a `selector`, or fewer `doc_ids`. Written back it gets no second one.

mod job;
mod place;

use std::sync::Arc;

use http::Method;
use indexmap::IndexMap;
use serde_json::value::RawValue;

use self::{
    job::{Giver, Job, Refusal},
    place::Here,
};
use super::{
    Answer, Call, Error, Proxy,
    encoding::{decompress, repost},
    headers::names,
    service::pass,
};
use crate::{
    couch::{Route, route::is_multipart},
    upstream::{body, http::FORWARDED_HOST},
};

/// Why a request with jobs is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// One of its jobs.
    #[error("{}{refusal}", name.as_ref().map(|name| format!("`{name}`: ")).unwrap_or_default())]
    Job {
        /// Its id, if it has one.
        name: Option<String>,
        /// What is wrong with it.
        refusal: Refusal,
    },
    /// It writes a job that cannot be looked into.
    #[error("{how} may write a job that {app} is to see less of; PUT it, as JSON")]
    Unseen {
        /// A method, an endpoint or a type.
        how: String,
        /// The app version.
        app: String,
    },
}

/// How a request gives jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// One, to run at once, or to be cancelled.
    Once,
    /// One, to be stored.
    Stored,
    /// Many, to be stored.
    Bulk,
}

/// Whether a request may give jobs as an app's version, declared or taken for granted.
pub(super) fn concerns(proxy: &Proxy, call: &Call) -> bool {
    let gives = match &call.route {
        Route::Replicate => call.method == Method::POST,
        route => route.is_replicator() && route.writes(&call.method),
    };
    gives && (call.app.is_some() || proxy.has_defaults())
}

/// Forwards a request after what its app is to see was put into its jobs.
pub(super) async fn forward(proxy: Arc<Proxy>, call: Call) -> Answer {
    let call = match given(&call)? {
        Some(given) => restrict(&proxy, call, given).await?,
        None => call,
    };
    pass(&proxy.upstream, call).await
}

/// None if it gives no job after all.
fn given(call: &Call) -> Result<Option<Given>, Refused> {
    // To who sees everything any job may be given.
    let sees_less = call.app.as_ref().filter(|app| app.replicates.is_some());
    let unseen = |how: &str| match sees_less {
        None => Ok(None),
        Some(app) => Err(Refused::Unseen {
            how: how.to_owned(),
            app: app.to_string(),
        }),
    };
    match &call.route {
        Route::Replicate => Ok(Some(Given::Once)),
        Route::BulkDocs { .. } => Ok(Some(Given::Bulk)),
        Route::PostDocument { .. } => Ok(Some(Given::Stored)),
        Route::UpdateHandler { .. } => unseen("_update"),
        _ if call.method.as_str() == "COPY" => unseen("COPY"),
        // Either writes the document that stands in one of its parts (`chttpd_db:db_doc_req`).
        Route::Document { .. } if is_multipart(&call.parts.headers) && call.method != Method::DELETE => {
            unseen("multipart")
        }
        Route::Document { .. } if call.method == Method::PUT => Ok(Some(Given::Stored)),
        // Deletions and attachments; a form that is none.
        _ => Ok(None),
    }
}

async fn restrict(proxy: &Proxy, mut call: Call, given: Given) -> Result<Call, Error> {
    let limit = proxy.settings.filter_limit;
    let posted = body::read(std::mem::replace(&mut call.body, body::empty()), limit).await?;
    let text = decompress(&call.parts.headers, posted.clone(), limit)?;
    let host = call
        .parts
        .headers
        .get(FORWARDED_HOST)
        .and_then(|host| names(host).next());
    let giver = Giver {
        settings: &proxy.settings,
        fallback: &|db| proxy.fallback(db),
        app: call.app.as_ref(),
        here: Here::new(proxy.upstream.url(), host),
    };
    let restricted = match given {
        Given::Once => once(&giver, &text),
        Given::Stored => stored(&giver, &text),
        Given::Bulk => bulk(&giver, &text),
    };
    let Some(text) = restricted? else {
        call.body = body::full(posted);
        return Ok(call);
    };
    repost(&mut call, text);
    Ok(call)
}

/// The text to be sent instead; none if it may stay.
type Restricted = Result<Option<Vec<u8>>, Error>;

fn once(giver: &Giver<'_>, text: &[u8]) -> Restricted {
    let Some(mut job) = members(text)? else { return Ok(None) };
    match giver.restrict(&mut job) {
        Ok(changed) => written(changed, &job),
        // To cancel a job reads nothing. In a stored one `cancel` means nothing (measured on 3.5.0).
        Err(_) if job.get("cancel").is_some_and(|cancel| cancel.get() == "true") => Ok(None),
        Err(refusal) => Err(Refused::Job { name: None, refusal }.into()),
    }
}

fn stored(giver: &Giver<'_>, text: &[u8]) -> Restricted {
    let Some(mut job) = members(text)? else { return Ok(None) };
    written(store(giver, &mut job)?, &job)
}

fn bulk(giver: &Giver<'_>, text: &[u8]) -> Restricted {
    let Some(mut members) = members(text)? else {
        return Ok(None);
    };
    let docs = members
        .get("docs")
        .and_then(|docs| serde_json::from_str::<Vec<Box<RawValue>>>(docs.get()).ok());
    let Some(mut docs) = docs else { return Ok(None) };
    let mut changed = false;
    for doc in &mut docs {
        // What is no object fails the whole request.
        let Ok(mut job) = serde_json::from_str::<Job>(doc.get()) else {
            continue;
        };
        if store(giver, &mut job)? {
            *doc = raw(&job)?;
            changed = true;
        }
    }
    if changed {
        members.insert("docs".into(), raw(&docs)?);
    }
    written(changed, &members)
}

/// A job to be stored; deletions and design documents are none.
fn store(giver: &Giver<'_>, job: &mut Job) -> Result<bool, Refused> {
    let id = job
        .get("_id")
        .and_then(|id| serde_json::from_str::<String>(id.get()).ok());
    let is_other = |id: &String| id.starts_with("_design/") || id.starts_with("_local/");
    if id.as_ref().is_some_and(is_other) || job.get("_deleted").is_some_and(|deleted| deleted.get() == "true") {
        return Ok(false);
    }
    giver
        .restrict(job)
        .map_err(|refusal| Refused::Job { name: id, refusal })
}

/// The members of what was posted, or none if CouchDB will find no object there. What its own parser might yet accept must not
/// reach it: it could hold another job.
fn members(text: &[u8]) -> Result<Option<Job>, Error> {
    match serde_json::from_slice::<IndexMap<_, _>>(text) {
        Ok(members) => Ok(Some(members)),
        Err(_) if text.is_empty() || serde_json::from_slice::<&RawValue>(text).is_ok() => Ok(None),
        Err(_) => Err(Error::BadRequest("invalid UTF-8 JSON")),
    }
}

fn written(changed: bool, members: &Job) -> Restricted {
    Ok(if changed {
        Some(raw(members)?.get().as_bytes().to_vec())
    } else {
        None
    })
}

fn raw(value: &impl serde::Serialize) -> Result<Box<RawValue>, Error> {
    serde_json::value::to_raw_value(value).map_err(|_| Error::BadRequest("invalid UTF-8 JSON"))
}
