//! The writing of derived revisions whose attachments their documents do not have yet: each by a request of its own, its bytes
//! streamed from where they are.
//!
//! As CouchDB's replicator does: `PUT` with `new_edits=false` and a `multipart/related` body, which holds the document and then the
//! attachments that it says follow, in its order. What is stored gzipped is sent as it is stored, so the digest stays the same
//! (measured on 3.5.0: sent decoded, it is compressed anew; one that its client had gzipped gets another digest then).

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::{HeaderValue, Method, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, StreamBody};

use indexmap::IndexMap;
use tokio::sync::Semaphore;

use super::{
    Error,
    store::{self, Refused},
};
use crate::{
    couch::{Attachment, Attachments},
    parked::Kind,
    reconcile::{Incoming, Write},
    upstream::{
        Body, BoxError, Upstream,
        account::{Ask, encoded, path},
        body,
    },
};

/// Requests with attachments that one process has on their way at once; each takes two connections.
pub const AT_ONCE: usize = 8;

/// Bytes for which a request takes one of these turns; what is larger takes more, so that of the largest there is one at a time: CouchDB gives
/// up a write of which no worker has stored anything for a minute, and with several of a gigabyte each that happens (measured on 3.5.0).
const BYTES_A_TURN: u64 = 64 << 20;

/// Documents of one fan-out that are written at once.
const SIDE_BY_SIDE: usize = 4;

const ATTACHMENT: &str = "an attachment";

/// The revisions of one document, in the order in which they build on each other.
type InOrder = Vec<Write>;

/// Takes out the documents of which some revision brings bytes, whole: a revision that comes after one that builds on it is not
/// taken (3.5.0 answers 201, and has no body of it).
pub fn apart(writes: Vec<Write>) -> (Vec<Write>, Vec<InOrder>) {
    let bringing = |write: &&Write| !write.incoming.is_empty();
    let ids: HashSet<String> = writes.iter().filter(bringing).map(|write| write.id.clone()).collect();
    let (mut plain, mut documents) = (Vec::new(), IndexMap::<String, InOrder>::new());
    for write in writes {
        if ids.contains(&write.id) {
            documents.entry(write.id.clone()).or_default().push(write);
        } else {
            plain.push(write);
        }
    }
    (plain, documents.into_values().collect())
}

/// What became of them.
#[derive(Default)]
pub struct Uploads {
    /// Those that the upstream does not take.
    pub refused: Vec<Refused>,
    /// How many were not written because they come after one that was refused.
    pub left_out: usize,
}

/// Writes them. What cannot be written for another reason than that it is refused keeps no other document from it, and is an error
/// in the end: an attachment may have been taken away since its entity was read, by a later edit, say, or by compaction. Whoever
/// looks then sees what is there.
pub async fn write(
    upstream: &Upstream,
    db: &str,
    documents: Vec<InOrder>,
    turns: &Semaphore,
) -> Result<Uploads, Error> {
    let done = stream::iter(documents).map(|writes| write_document(upstream, db, writes, turns));
    let mut done = done.buffer_unordered(SIDE_BY_SIDE);
    let (mut uploads, mut failed) = (Uploads::default(), None);
    while let Some(done) = done.next().await {
        match done {
            Ok(one) => {
                uploads.refused.extend(one.refused);
                uploads.left_out += one.left_out;
            }
            Err(error) => {
                tracing::warn!(db, %error, "a derived revision could not be written with its attachments");
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(uploads), Err)
}

async fn write_document(upstream: &Upstream, db: &str, writes: InOrder, turns: &Semaphore) -> Result<Uploads, Error> {
    let mut left = writes.len();
    for write in writes {
        left -= 1;
        let refused = if write.incoming.is_empty() {
            store::write(upstream, db, vec![write]).await?
        } else {
            // It is never closed.
            let _turns = turns.acquire_many(turns_for(length(&write))).await;
            upload(upstream, db, &write).await?.into_iter().collect()
        };
        if !refused.is_empty() {
            return Ok(Uploads {
                refused,
                left_out: left,
            });
        }
    }
    Ok(Uploads::default())
}

/// How many bytes of attachments go with a revision.
fn length(write: &Write) -> u64 {
    let attachments = write.body.as_deref().and_then(Attachments::of).unwrap_or_default();
    let incoming = write
        .incoming
        .iter()
        .filter_map(|incoming| attachments.get(&incoming.name));
    incoming.map(Attachment::stored_length).sum()
}

fn turns_for(bytes: u64) -> u32 {
    (bytes / BYTES_A_TURN).clamp(1, AT_ONCE as u64) as u32
}

async fn upload(upstream: &Upstream, db: &str, write: &Write) -> Result<Option<Refused>, Error> {
    let unreadable = |source: BoxError| Error::Unreadable {
        request: ATTACHMENT,
        source,
    };
    let text = serde_json::to_vec(write).map_err(|error| unreadable(error.into()))?;
    let attachments = write.body.as_deref().and_then(Attachments::of).unwrap_or_default();
    let boundary = uuid::Uuid::now_v7().simple().to_string();
    let mut sources = Vec::new();
    for incoming in &write.incoming {
        let attachment = attachments.get(&incoming.name);
        let attachment = attachment.ok_or_else(|| unreadable("it is not in its document".into()))?;
        sources.push(Source::new(upstream, db, incoming, attachment));
    }
    // That it is gone is known before anything is sent.
    let mut opened = match sources.first() {
        Some(first) => Some(first.open().await?),
        None => None,
    };
    let begin = format!("--{boundary}\r\nContent-Type: application/json\r\n\r\n").into_bytes();
    let between = format!("\r\n--{boundary}\r\n\r\n").into_bytes();
    let end = format!("\r\n--{boundary}--").into_bytes();
    let fixed = begin.len() + text.len() + between.len() * sources.len() + end.len();
    let length = fixed as u64 + sources.iter().map(|source| source.length).sum::<u64>();
    let failure: Arc<Mutex<Option<Error>>> = Arc::default();
    let failed = failure.clone();
    let parts = stream::iter(sources).flat_map(move |source| {
        let head = stream::iter([Ok(Bytes::from(between.clone()))]);
        head.chain(source.bytes(opened.take()))
    });
    let head = stream::iter([begin, text].map(|piece| Ok(Bytes::from(piece))));
    let tail = stream::iter([Ok(Bytes::from(end))]);
    let pieces = head.chain(parts).chain(tail).map(move |piece| {
        piece.map(Frame::data).map_err(|error: Error| {
            let told = BoxError::from(error.to_string());
            failed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(error);
            told
        })
    });
    let kind = HeaderValue::from_str(&format!("multipart/related; boundary=\"{boundary}\""));
    let kind = kind.map_err(|error| unreadable(error.into()))?;
    let at = format!("{}?new_edits=false", path([db, &write.id]));
    let ask = Ask::new(Method::PUT, "a document with attachments", at);
    let reply = ask
        .upload(upstream, kind, length, StreamBody::new(pieces).boxed_unsync())
        .await;
    if let Some(failure) = failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(failure);
    }
    let reply = reply?;
    match reply.status {
        StatusCode::CREATED | StatusCode::ACCEPTED | StatusCode::OK => Ok(None),
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
            let id = write.id.clone();
            let error = match reply.status {
                StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
                _ => Kind::Refused,
            };
            let reason = reply.refused().to_string();
            tracing::warn!(db, document = id, error = reason, "a derived revision was refused");
            Ok(Some(Refused { id, error, reason }))
        }
        // Of a stub the bytes are not there any more: compaction came between.
        StatusCode::PRECONDITION_FAILED => Err(unreadable(reply.refused().into())),
        _ => Err(reply.refused()),
    }
}

/// Where the bytes of an attachment are.
struct Source {
    upstream: Upstream,
    path: String,
    encoding: Option<String>,
    /// How many bytes there have to be.
    length: u64,
}

impl Source {
    fn new(upstream: &Upstream, db: &str, incoming: &Incoming, attachment: &Attachment) -> Self {
        let at = path([db, &incoming.id, &incoming.source]);
        Self {
            upstream: upstream.clone(),
            path: format!("{at}?rev={}", encoded(&incoming.rev.to_string())),
            encoding: attachment.encoding.clone(),
            length: attachment.stored_length(),
        }
    }

    fn changed(&self, what: impl std::fmt::Display) -> Error {
        Error::Unreadable {
            request: ATTACHMENT,
            source: format!("{}: {what}", self.path).into(),
        }
    }

    async fn open(&self) -> Result<Body, Error> {
        let accepted = self.encoding.as_deref().unwrap_or("identity");
        let accepted = HeaderValue::from_str(accepted).map_err(|error| self.changed(error))?;
        let ask = Ask::new(Method::GET, ATTACHMENT, &*self.path);
        let answer = ask.open(&self.upstream, accepted).await?;
        let is_as_stored = answer
            .headers()
            .get(header::CONTENT_ENCODING)
            .map(HeaderValue::as_bytes)
            == self.encoding.as_deref().map(str::as_bytes);
        match answer.status() {
            StatusCode::OK if is_as_stored => Ok(answer.into_body()),
            StatusCode::OK => Err(self.changed("its encoding is another")),
            status => {
                body::discard(answer.into_body());
                Err(self.changed(status))
            }
        }
    }

    /// As many bytes as there have to be, or an error. It may have been opened before.
    fn bytes(self, opened: Option<Body>) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        let opened = async move {
            let body = match opened {
                Some(body) => body,
                None => self.open().await?,
            };
            Ok::<_, Error>((BodyStream::new(body), 0, self))
        };
        let pieces = |(mut frames, mut seen, source): (BodyStream<Body>, u64, Self)| async move {
            loop {
                match frames.next().await {
                    Some(Ok(frame)) => {
                        let Ok(piece) = frame.into_data() else { continue };
                        seen += piece.len() as u64;
                        if seen > source.length {
                            return Err(source.changed(format_args!("it is longer than {} bytes", source.length)));
                        }
                        return Ok(Some((piece, (frames, seen, source))));
                    }
                    Some(Err(error)) => return Err(source.changed(error)),
                    None if seen < source.length => {
                        return Err(source.changed(format_args!("it ended after {seen} of {} bytes", source.length)));
                    }
                    None => return Ok(None),
                }
            }
        };
        stream::once(opened)
            .map_ok(move |state| stream::try_unfold(state, pieces))
            .try_flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_largest_there_is_one_at_a_time() {
        assert_eq!(turns_for(0), 1);
        assert_eq!(turns_for(200 << 20), 3);
        assert_eq!(turns_for(1 << 40), AT_ONCE as u32);
    }
}
