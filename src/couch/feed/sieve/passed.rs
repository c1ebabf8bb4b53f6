//! What passes of a piece.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// What passes of a piece, as few and long runs as there are.
pub(super) struct Passed<'a> {
    piece: &'a Bytes,
    run: Range<usize>,
    copied: BytesMut,
}

impl<'a> Passed<'a> {
    pub(super) fn of(piece: &'a Bytes) -> Self {
        Self {
            piece,
            run: 0..0,
            copied: BytesMut::new(),
        }
    }

    /// This part of the piece.
    pub(super) fn keep(&mut self, part: Range<usize>) {
        if self.run.end == part.start {
            self.run.end = part.end;
        } else {
            self.copied.extend_from_slice(&self.piece[self.run.clone()]);
            self.run = part;
        }
    }

    /// This text, which may well be what comes next in the piece.
    pub(super) fn add(&mut self, text: &[u8]) {
        if self.piece[self.run.end..].starts_with(text) {
            self.run.end += text.len();
        } else {
            self.copied.extend_from_slice(&self.piece[self.run.clone()]);
            self.copied.extend_from_slice(text);
            self.run = self.run.end..self.run.end;
        }
    }

    /// A piece of which everything passes is not copied.
    pub(super) fn whole(mut self) -> Bytes {
        if self.copied.is_empty() {
            return self.piece.slice(self.run);
        }
        self.copied.extend_from_slice(&self.piece[self.run]);
        self.copied.freeze()
    }
}
