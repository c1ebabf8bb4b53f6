//! The writing of derived revisions.

use http::{Method, StatusCode};
use serde::Deserialize;

use super::Error;
use crate::{
    parked::Kind,
    reconcile::Write,
    upstream::{
        Upstream,
        account::{Ask, path},
    },
};

/// The most that is read of any answer.
pub const LIMIT: usize = 256 << 20;

/// The most that is sent at once, if it is more than one revision.
const BATCH: usize = 4 << 20;

const BEGIN: &[u8] = br#"{"new_edits":false,"docs":["#;
const END: &[u8] = b"]}";

#[derive(Deserialize)]
struct Failure {
    id: String,
    error: String,
    reason: Option<String>,
}

/// A derived revision that the upstream does not take, now or ever, as long as nobody changes what it says or what refuses it.
pub struct Refused {
    /// Its document.
    pub id: String,
    /// Why.
    pub error: Kind,
    /// What the upstream says.
    pub reason: String,
}

/// Errors of one document that do not lie in what it says. Whatever a `validate_doc_update` throws stands in the same place.
const TEMPORARY: [&str; 3] = ["internal_server_error", "service_unavailable", "timeout"];

/// Writes derived revisions; answers those that were refused. A batch that CouchDB refuses as a whole, because it is too large
/// or because of one document, is written in halves. What others refer to is written before all else: a batch may arrive in part.
pub async fn write(upstream: &Upstream, db: &str, writes: Vec<Write>) -> Result<Vec<Refused>, Error> {
    let mut refused = Vec::new();
    let mut failed = None;
    let (referred_to, rest) = writes.into_iter().partition(|write| write.is_referred_to);
    let mut batches: Vec<Vec<Write>> = vec![rest, referred_to];
    while let Some(mut batch) = batches.pop() {
        if batch.is_empty() {
            continue;
        }
        let (body, count) = as_many_as_fit(&batch).map_err(|source| Error::Unreadable {
            request: "_bulk_docs",
            source: source.into(),
        })?;
        if count < batch.len() {
            batches.push(batch.split_off(count));
        }
        let ask = Ask::new(Method::POST, "_bulk_docs", path([db, "_bulk_docs"]));
        let reply = ask.with(body).limit(LIMIT).send(upstream).await?;
        match reply.status {
            StatusCode::CREATED | StatusCode::ACCEPTED => {
                let failures: Vec<Failure> = serde_json::from_slice(&reply.body).unwrap_or_default();
                for failure in failures {
                    let Failure { id, error, reason } = failure;
                    let reason = reason.unwrap_or_default();
                    tracing::warn!(db, document = id, error, reason, "a derived revision was refused");
                    let reason = format!("{error}: {reason}");
                    if TEMPORARY.contains(&&*error) {
                        failed = Some(Error::Refused {
                            request: "_bulk_docs",
                            status: reply.status,
                            reason: format!("{id}: {reason}"),
                        });
                        continue;
                    }
                    let error = Kind::Refused;
                    refused.push(Refused { id, error, reason });
                }
            }
            // One bad document fails all (transcripts, bulk 13-18).
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::PRECONDITION_FAILED | StatusCode::BAD_REQUEST
                if batch.len() > 1 =>
            {
                let half = batch.split_off(batch.len() / 2);
                batches.extend([half, batch]);
            }
            // A stub whose attachment the document no longer has (transcripts, attachments 84-86).
            StatusCode::PRECONDITION_FAILED if batch[0].has_attachments() => {
                batch[0].drop_attachments();
                batches.push(batch);
            }
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::PRECONDITION_FAILED | StatusCode::BAD_REQUEST => {
                let id = batch.swap_remove(0).id;
                let error = match reply.status {
                    StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
                    _ => Kind::Refused,
                };
                let reason = reply.refused().to_string();
                tracing::warn!(db, document = id, error = reason, "a derived revision was refused");
                refused.push(Refused { id, error, reason });
            }
            _ => return Err(reply.refused()),
        }
    }
    match failed {
        Some(failed) => Err(failed),
        None => Ok(refused),
    }
}

/// A `_bulk_docs` of the first of these revisions, and how many they are.
fn as_many_as_fit(writes: &[Write]) -> Result<(Vec<u8>, usize), serde_json::Error> {
    let mut body = BEGIN.to_vec();
    let mut count = 0;
    for write in writes {
        let before = body.len();
        if count > 0 {
            body.push(b',');
        }
        serde_json::to_writer(&mut body, write)?;
        if count > 0 && body.len() > BATCH {
            body.truncate(before);
            break;
        }
        count += 1;
    }
    body.extend_from_slice(END);
    Ok((body, count))
}
