//! Requests made with the service account, and the writing of derived revisions.

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::Error;
use crate::{
    reconcile::Write,
    upstream::{
        BoxError, Upstream,
        body::{self, full},
    },
};

/// The most that is read of an answer.
const LIMIT: usize = 256 << 20;

#[derive(Serialize)]
struct BulkDocs<'a> {
    new_edits: bool,
    docs: &'a [Write],
}

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
        let body = serde_json::to_vec(&BulkDocs {
            new_edits: false,
            docs: &batch,
        });
        let body = body.map_err(|source| Error::Unreadable {
            request: "_bulk_docs",
            source: source.into(),
        })?;
        let (status, answer) = post(upstream, db, "_bulk_docs", "", body.into()).await?;
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

/// Sends a `POST` with the service account and reads the answer whole.
pub async fn post(
    upstream: &Upstream,
    db: &str,
    endpoint: &'static str,
    query: &str,
    body: Bytes,
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
    let body = body::read(body, LIMIT)
        .await
        .map_err(|error| unreadable(error.into()))?;
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
