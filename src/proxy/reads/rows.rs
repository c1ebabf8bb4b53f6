//! The rows of a listing, as they come from upstream.

use http_body_util::BodyExt;

use super::super::Error;
use crate::{
    couch::listing::{Piece, Reader},
    upstream::{Body, Upstream},
};

/// A listing that is being read.
pub(super) struct Rows {
    body: Body,
    reader: Reader,
    upstream: Upstream,
}

impl Rows {
    pub(super) fn new(upstream: &Upstream, body: Body) -> Self {
        Self {
            body,
            reader: Reader::default(),
            upstream: upstream.clone(),
        }
    }

    /// The next piece of what has come.
    pub(super) fn ready(&mut self) -> Result<Option<Piece>, Error> {
        Ok(self.reader.piece().map_err(|error| self.upstream.broken(error))?)
    }

    /// Waits for more to come. Fails if nothing does: then the listing has broken off.
    pub(super) async fn more(&mut self) -> Result<(), Error> {
        loop {
            match self.body.frame().await {
                None => return Err(self.upstream.broken("the listing broke off").into()),
                Some(Err(error)) => return Err(self.upstream.broken(error).into()),
                Some(Ok(frame)) => {
                    if let Ok(text) = frame.into_data() {
                        self.reader.feed(text);
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The next piece.
    pub(super) async fn piece(&mut self) -> Result<Piece, Error> {
        loop {
            if let Some(piece) = self.ready()? {
                return Ok(piece);
            }
            self.more().await?;
        }
    }

    /// Reads what stands behind the last row, so that the connection can be used again.
    pub(super) async fn drain(&mut self) {
        while let Some(Ok(_)) = self.body.frame().await {}
    }
}
