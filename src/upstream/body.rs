//! The few kinds of bodies that are made or read whole.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, BodyStream, Empty, Full, StreamBody};
use hyper::body::Incoming;

use super::{
    Body, BoxError,
    idle::{Idle, Sender},
};

/// Why a body could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is longer than this.
    #[error("the body is longer than {0} bytes: send less at once")]
    TooLong(usize),
    /// It ended early.
    #[error("the body could not be read: {0}")]
    Broken(#[source] BoxError),
}

/// Nothing.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// These bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// What a client sends; it fails if nothing comes for `patience` while it is waited for ([`client_was_silent`]).
///
/// [`client_was_silent`]: super::client_was_silent
pub fn incoming(body: Incoming, patience: Duration) -> Body {
    // Boxing an empty body allocates nothing: it has no size.
    if body.is_end_stream() {
        empty()
    } else {
        Idle::new(body, Sender::Client, patience).boxed_unsync()
    }
}

/// The same body, which says nothing of its length: it is read as it comes, and not given up because of what it announces.
pub fn unannounced(body: Body) -> Body {
    Body::new(StreamBody::new(BodyStream::new(body)))
}

/// How a body begins.
pub enum Peeked {
    /// This is all of it.
    Whole(Bytes),
    /// It is longer than was to be read; nothing of it is missing.
    Longer(Body),
}

/// The whole body, if it is no longer than `limit`.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, ReadError> {
    match peek(body, limit).await? {
        Peeked::Whole(bytes) => Ok(bytes),
        Peeked::Longer(_) => Err(ReadError::TooLong(limit)),
    }
}

/// How long the rest of a refused body is read.
const LINGER: Duration = Duration::from_secs(30);

/// Reads the rest of a body that is refused, behind the answer: a connection that is closed while its client still sends is reset,
/// and the answer lost.
pub fn discard(mut body: Body) {
    let read = async move { while let Some(Ok(_)) = body.frame().await {} };
    tokio::spawn(tokio::time::timeout(LINGER, read));
}

/// Reads a body as far as `limit`. One that comes in one piece is not copied, and none is ever held twice.
pub async fn peek(mut body: Body, limit: usize) -> Result<Peeked, ReadError> {
    let mut first = Bytes::new();
    let mut more = Vec::new();
    loop {
        let left = limit.checked_sub(first.len() + more.len());
        let announced = body.size_hint().lower();
        if left.is_none_or(|left| announced > left as u64) {
            break;
        }
        let Some(frame) = body.frame().await else {
            let whole = if more.is_empty() { first } else { more.into() };
            return Ok(Peeked::Whole(whole));
        };
        match frame.map_err(ReadError::Broken)?.into_data() {
            Ok(piece) if first.is_empty() && more.is_empty() => first = piece,
            Ok(piece) => {
                if more.is_empty() {
                    // What is announced is below the limit.
                    more.reserve_exact(first.len() + announced as usize);
                    more.extend_from_slice(&std::mem::take(&mut first));
                }
                more.extend_from_slice(&piece);
            }
            // Trailers.
            Err(_) => {}
        }
    }
    if first.is_empty() && more.is_empty() {
        return Ok(Peeked::Longer(body));
    }
    let seen = [first, more.into()].into_iter().filter(|piece| !piece.is_empty());
    let seen = stream::iter(
        seen.map(|piece| Ok::<_, BoxError>(Frame::data(piece)))
            .collect::<Vec<_>>(),
    );
    Ok(Peeked::Longer(Body::new(StreamBody::new(
        seen.chain(BodyStream::new(body)),
    ))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(pieces: &[&'static str]) -> Body {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))
            .collect();
        Body::new(StreamBody::new(stream::iter(pieces)))
    }

    #[tokio::test]
    async fn a_body_is_read_as_far_as_the_limit_and_no_further() {
        for (given, limit, fits) in [
            (&["", "abc"][..], 3, true),
            (&["abc", "", "def"], 6, true),
            (&["abc", "def", "g"], 6, false),
            (&["abcdefg"], 6, false),
            (&[], 0, true),
        ] {
            let whole: String = given.concat();
            match peek(pieces(given), limit).await.unwrap() {
                Peeked::Whole(bytes) => assert_eq!((&*bytes, fits), (whole.as_bytes(), true), "{given:?}"),
                Peeked::Longer(body) => {
                    let bytes = body.collect().await.unwrap().to_bytes();
                    assert_eq!((&*bytes, fits), (whole.as_bytes(), false), "{given:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_announced_as_too_long_is_not_even_begun() {
        let Peeked::Longer(body) = peek(full("abcd"), 3).await.unwrap() else {
            panic!()
        };
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcd");
        assert!(matches!(read(full("abcd"), 3).await, Err(ReadError::TooLong(3))));
    }
}
