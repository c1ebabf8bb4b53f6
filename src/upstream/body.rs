//! The few kinds of bodies that are made or read whole.

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;

use super::{Body, BoxError};

/// Why a body could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is longer than this.
    #[error("the body is longer than {0} bytes")]
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

/// What a client sends.
pub fn incoming(body: Incoming) -> Body {
    // Boxing an empty body allocates nothing: it has no size.
    if body.is_end_stream() {
        empty()
    } else {
        body.map_err(Into::into).boxed_unsync()
    }
}

/// The whole body, if it is no longer than `limit`. One that comes in one piece is not copied.
pub async fn read(mut body: Body, limit: usize) -> Result<Bytes, ReadError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(ReadError::TooLong(limit));
    }
    let mut pieces = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(ReadError::Broken)?.into_data() else {
            continue;
        };
        length += piece.len();
        if length > limit {
            return Err(ReadError::TooLong(limit));
        }
        pieces.push(piece);
    }
    match pieces.len() {
        0 | 1 => Ok(pieces.pop().unwrap_or_default()),
        _ => Ok(pieces.concat().into()),
    }
}
