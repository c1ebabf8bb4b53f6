//! A `_bulk_docs` too long to be held: it passes, and the entities it touches are noted.

use std::{
    io::{self, Write as _},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, HeaderValue, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use crate::{
    couch::DocIds,
    fanout::{EntityKey, FanOut},
    upstream::{
        Body, BoxError,
        body::{self, ReadError},
    },
};

/// What was seen of a body that passes.
#[derive(Clone)]
pub struct Seen(Arc<Mutex<Looking>>);

struct Looking {
    reader: Reader,
    limit: usize,
    is_too_long: bool,
    has_ended: bool,
}

enum Reader {
    Plain(Box<Noting>),
    Gzip(Box<MultiGzDecoder<Noting>>),
    /// CouchDB will not take it, and says so itself.
    Unreadable(Vec<EntityKey>),
}

/// Notes the entities of what is written to it.
struct Noting {
    fan_out: FanOut,
    ids: DocIds,
    keys: Vec<EntityKey>,
    /// How much may still come.
    left: usize,
    is_too_long: bool,
}

struct Passing {
    body: Body,
    /// What is still to come, if it was said beforehand.
    announced: Option<u64>,
    seen: Seen,
}

/// Looks at a body while it is read; one that proves longer than `limit`, as it is or decompressed, breaks off.
pub fn watch(fan_out: &FanOut, headers: &HeaderMap, body: Body, limit: usize) -> (Body, Seen) {
    let noting = Noting {
        fan_out: fan_out.clone(),
        ids: DocIds::default(),
        keys: Vec::new(),
        left: limit,
        is_too_long: false,
    };
    let reader = match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Reader::Plain(Box::new(noting)),
        Some(b"gzip") => Reader::Gzip(Box::new(MultiGzDecoder::new(noting))),
        Some(_) => Reader::Unreadable(Vec::new()),
    };
    let seen = Seen(Arc::new(Mutex::new(Looking {
        reader,
        limit,
        is_too_long: false,
        has_ended: false,
    })));
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    let passing = Passing {
        body,
        announced,
        seen: seen.clone(),
    };
    (passing.boxed_unsync(), seen)
}

impl Seen {
    /// The entities, each once, if the body was sent to its end; an upstream that was not given all of it has written nothing.
    pub fn entities(&self) -> Vec<EntityKey> {
        self.with(|looking| {
            if !looking.has_ended {
                return Vec::new();
            }
            let mut keys = match &mut looking.reader {
                Reader::Plain(noting) => std::mem::take(&mut noting.keys),
                Reader::Gzip(decoder) => {
                    // What it has not given yet; a truncated one CouchDB refuses.
                    let _ = decoder.try_finish();
                    std::mem::take(&mut decoder.get_mut().keys)
                }
                Reader::Unreadable(keys) => std::mem::take(keys),
            };
            keys.sort_unstable();
            keys.dedup();
            keys
        })
    }

    /// Why the body broke off, if it was too long.
    pub fn too_long(&self) -> Option<ReadError> {
        self.with(|looking| looking.is_too_long.then_some(ReadError::TooLong(looking.limit)))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Looking) -> T) -> T {
        // Nothing in here can panic half-way.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Looking {
    fn look(&mut self, piece: &[u8]) -> Result<(), ReadError> {
        let is_too_long = match &mut self.reader {
            Reader::Plain(noting) => noting.write_all(piece).is_err(),
            Reader::Gzip(decoder) => match decoder.write_all(piece) {
                Ok(()) => false,
                Err(_) if decoder.get_ref().is_too_long => true,
                Err(_) => {
                    self.reader = Reader::Unreadable(std::mem::take(&mut decoder.get_mut().keys));
                    false
                }
            },
            Reader::Unreadable(_) => false,
        };
        if is_too_long {
            self.is_too_long = true;
            return Err(ReadError::TooLong(self.limit));
        }
        Ok(())
    }
}

impl io::Write for Noting {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(text.len()) else {
            self.is_too_long = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        self.left = left;
        let (fan_out, keys) = (&self.fan_out, &mut self.keys);
        self.ids.read(text, |id| keys.extend(fan_out.entity_of(id)));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl http_body::Body for Passing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let (Some(announced), Some(Ok(frame))) = (&mut this.announced, &frame) {
            *announced = announced.saturating_sub(frame.data_ref().map_or(0, |piece| piece.len() as u64));
        }
        // Nobody asks for an end that is known.
        let has_ended = frame.is_none() || this.announced == Some(0) || this.body.is_end_stream();
        let looked = this.seen.with(|looking| {
            looking.has_ended |= has_ended;
            match &frame {
                Some(Ok(frame)) => frame.data_ref().map_or(Ok(()), |piece| looking.look(piece)),
                _ => Ok(()),
            }
        });
        Poll::Ready(match looked {
            Ok(()) => frame,
            Err(error) => {
                body::discard(std::mem::replace(&mut this.body, body::empty()));
                Some(Err(error.into()))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
