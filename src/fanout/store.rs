//! Requests made with the service account, and the writing of derived revisions.

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::Error;
use crate::{
    reconcile::Write,
    upstream::{
        BoxError, Upstream,
        body::{self, ReadError, full},
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

/// Writes derived revisions; answers how many were refused. A batch that CouchDB refuses as a whole, because it is too large
/// or because of one document, is written in halves.
pub async fn write(upstream: &Upstream, db: &str, writes: Vec<Write>) -> Result<usize, Error> {
    let mut refused = 0;
    let mut batches = vec![writes];
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
        let (status, answer) = post(upstream, db, "_bulk_docs", "", body.into(), LIMIT).await?;
        match status {
            StatusCode::CREATED | StatusCode::ACCEPTED => {
                let failures: Vec<Failure> = serde_json::from_slice(&answer).unwrap_or_default();
                refused += failures.len();
                for failure in failures {
                    let Failure { id, error, reason } = failure;
                    tracing::warn!(db, document = id, error, reason, "a derived revision was refused");
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
                refused += 1;
                let error = self::refused("_bulk_docs", status, &answer);
                tracing::warn!(db, document = batch[0].id, %error, "a derived revision was refused");
            }
            _ => return Err(self::refused("_bulk_docs", status, &answer)),
        }
    }
    Ok(refused)
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

/// Sends a `POST` with the service account and reads the answer whole, if it is no longer than `limit`.
pub async fn post(
    upstream: &Upstream,
    db: &str,
    endpoint: &'static str,
    query: &str,
    body: Bytes,
    limit: usize,
) -> Result<(StatusCode, Bytes), Error> {
    let unreadable = |source: BoxError| Error::Unreadable {
        request: endpoint,
        source,
    };
    let db = utf8_percent_encode(db, NON_ALPHANUMERIC);
    let mut request = Request::post(format!("/{db}/{endpoint}{query}"))
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header(header::ACCEPT, HeaderValue::from_static("application/json"))
        .header(header::CONTENT_LENGTH, body.len());
    if let Some(account) = &upstream.account {
        request = request.header(header::AUTHORIZATION, account);
    }
    let request = request.body(full(body)).map_err(|error| unreadable(error.into()))?;
    let (head, body) = upstream.send(request).await?.into_parts();
    let body = body::read(body, limit).await.map_err(|error| match error {
        ReadError::TooLong(limit) => Error::TooLong {
            request: endpoint,
            limit,
        },
        broken => unreadable(broken.into()),
    })?;
    Ok((head.status, body))
}

/// An answer that is none, with its first words.
pub fn refused(request: &'static str, status: StatusCode, answer: &[u8]) -> Error {
    let reason = String::from_utf8_lossy(&answer[..answer.len().min(300)])
        .trim()
        .to_owned();
    Error::Refused {
        request,
        status,
        reason,
    }
}
