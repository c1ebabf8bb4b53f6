//! `_bulk_docs`: refused documents are taken out while the others pass, and their rows put back into the answer. However long it is, no
//! more is held of a batch than one document, and the rows of those that were refused.

use std::{
    collections::VecDeque,
    io::{self, Write as _},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::{HeaderValue, Response, header::CONTENT_ENCODING};
use http_body::Frame;
use http_body_util::BodyExt;

use super::{
    super::{Answer, Call, Error, encoding::forget_body, writes::room::Place},
    Held, Judge, Unseen, Validating,
    judge::Refused,
};
use crate::{
    couch::Elements,
    upstream::{
        Body, BoxError,
        body::{self, Peeked, full},
    },
};

/// What is as short as this goes on in one piece.
const SHORT: usize = 64 << 10;

/// What was taken out, in its order.
#[derive(Default)]
struct Taken {
    /// Each with its place among all documents.
    rows: VecDeque<(usize, Refused)>,
    /// What the rows take, in bytes.
    size: usize,
    /// Where they are held.
    place: Place,
    is_new_edits: bool,
    unseen: Option<Unseen>,
}

/// Takes documents out of what is written to it.
struct Sieve {
    elements: Elements,
    judge: Judge,
    db: String,
    held: Held,
    place: Place,
    passed: Vec<u8>,
    has_ended: bool,
    taken: Arc<Mutex<Taken>>,
}

enum Reader {
    Plain(Box<Sieve>),
    Gzip(Box<MultiGzDecoder<Sieve>>),
}

/// What passes of a body.
struct Sifted {
    body: Body,
    reader: Reader,
    has_ended: bool,
}

/// An answer, with the rows of what was taken out.
struct Filled {
    body: Body,
    rows: Elements,
    /// Rows that were put.
    count: usize,
    taken: Taken,
}

pub(super) async fn forward(validating: &Validating, mut call: Call) -> Answer {
    let taken = Arc::new(Mutex::new(Taken::default()));
    let sieve = Sieve {
        elements: Elements::of_member("docs"),
        judge: validating.judge.clone(),
        db: call.route.db().unwrap_or_default().to_owned(),
        held: validating.held.clone(),
        place: Place::default(),
        passed: Vec::new(),
        has_ended: false,
        taken: taken.clone(),
    };
    let reader = match call.parts.headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Reader::Plain(Box::new(sieve)),
        Some(b"gzip") => Reader::Gzip(Box::new(MultiGzDecoder::new(sieve))),
        // CouchDB will not take it, and says so itself.
        Some(_) => return validating.writes.forward(call).await,
    };
    let sifted = Sifted {
        body: call.body,
        reader,
        has_ended: false,
    };
    let taken = || std::mem::take(&mut *taken.lock().unwrap_or_else(PoisonError::into_inner));
    call.body = match body::peek(sifted.boxed_unsync(), SHORT).await {
        Ok(Peeked::Whole(text)) => full(text),
        Ok(Peeked::Longer(body)) => body,
        Err(error) => return Err(taken().unseen.map_or_else(|| error.into(), Error::from)),
    };
    forget_body(&mut call.parts.headers);
    let answer = validating.writes.forward(call).await;
    let taken = taken();
    if let Some(unseen) = taken.unseen {
        return Err(unseen.into());
    }
    match answer {
        Ok(answer) if answer.status().is_success() && !taken.rows.is_empty() => Ok(filled(answer, taken)),
        answer => answer,
    }
}

fn filled(answer: Response<Body>, taken: Taken) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    forget_body(&mut head.headers);
    let filled = Filled {
        body,
        rows: Elements::of_array(),
        count: 0,
        taken,
    };
    Response::from_parts(head, filled.boxed_unsync())
}

impl Sieve {
    fn read(&mut self, text: &[u8]) -> Result<(), Unseen> {
        let (judge, db, has_ended) = (&self.judge, &self.db, &mut self.has_ended);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = self.elements.read(text, |document, documents| {
            // Of a doubled `docs` the last counts, as in CouchDB.
            if std::mem::replace(has_ended, document.is_none()) {
                taken.rows.clear();
                taken.size = 0;
            }
            let Some(document) = document else { return };
            match judge.refuse(db, None, document) {
                None => documents.put(document),
                Some(refused) => {
                    taken.size += refused.size();
                    taken.rows.push_back((documents.index(), refused));
                }
            }
        });
        taken.is_new_edits = self.elements.is_new_edits();
        if taken.size > taken.place.size {
            taken.place = Place::default();
            let wanted = (2 * taken.size).min(self.held.longest.max(taken.size));
            let place = self.held.take(wanted);
            taken.place = place.map_err(|unseen| match unseen {
                Unseen::TooLong(longest) => Unseen::TooManyRefused(longest),
                unseen => unseen,
            })?;
        }
        drop(taken);
        self.passed.extend_from_slice(&passed);
        let held = self.elements.held();
        if held == 0 {
            self.place = Place::default();
        } else if held > self.place.size {
            // It grows by doubling, as what it holds does.
            self.place = Place::default();
            let wanted = (2 * held).min(self.held.longest.max(held));
            match self.held.take(wanted) {
                Ok(place) => self.place = place,
                Err(unseen) if self.judge.enforces() => return Err(unseen),
                Err(_) => self.elements.release(),
            }
        }
        Ok(())
    }

    fn fail(&self, unseen: Unseen) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.unseen.get_or_insert(unseen);
    }
}

impl io::Write for Sieve {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.read(text).map_err(|unseen| {
            self.fail(unseen);
            io::ErrorKind::FileTooLarge
        })?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Reader {
    /// What passes of the next piece, or of the end.
    fn pass(&mut self, piece: Option<&[u8]>) -> io::Result<Bytes> {
        let read = match (&mut *self, piece) {
            (Reader::Plain(sieve), Some(piece)) => sieve.write_all(piece),
            (Reader::Plain(_), None) => Ok(()),
            (Reader::Gzip(decoder), Some(piece)) => decoder.write_all(piece),
            (Reader::Gzip(decoder), None) => decoder.try_finish(),
        };
        let sieve = match self {
            Reader::Plain(sieve) => sieve,
            Reader::Gzip(decoder) => decoder.get_mut(),
        };
        if read.is_err() {
            sieve.fail(Unseen::NoGzip);
        }
        read?;
        Ok(std::mem::take(&mut sieve.passed).into())
    }
}

impl http_body::Body for Sifted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        while !this.has_ended {
            let piece = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => frame.into_data().ok(),
                None => {
                    this.has_ended = true;
                    None
                }
            };
            // Trailers say nothing of what passes.
            if piece.is_none() && !this.has_ended {
                continue;
            }
            match this.reader.pass(piece.as_deref()) {
                Ok(text) if text.is_empty() => {}
                Ok(text) => return Poll::Ready(Some(Ok(Frame::data(text)))),
                Err(error) => {
                    this.has_ended = true;
                    body::discard(std::mem::replace(&mut this.body, body::empty()));
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
        Poll::Ready(None)
    }
}

impl Filled {
    fn fill(&mut self, text: &[u8]) -> Vec<u8> {
        let Self { rows, count, taken, .. } = self;
        rows.read(text, |row, rows| {
            // Each at its place; replicated documents have rows only if they fail, and in any order.
            while let Some((place, refused)) = taken.rows.front_mut() {
                if row.is_some() && !(taken.is_new_edits && *place <= *count) {
                    break;
                }
                if taken.is_new_edits {
                    refused.rev = None;
                }
                // Texts can always be written.
                rows.put(&serde_json::to_vec(refused).unwrap_or_default());
                taken.rows.pop_front();
                *count += 1;
            }
            if let Some(row) = row {
                rows.put(row);
                *count += 1;
            }
        })
    }
}

impl http_body::Body for Filled {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        loop {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            let Ok(text) = frame.into_data() else { continue };
            let text = this.fill(&text);
            if !text.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(text.into()))));
            }
        }
    }
}
