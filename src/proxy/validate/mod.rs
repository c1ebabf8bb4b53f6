//! Documents that clients write, and the JSON Schemas of their classes: what does not fit is told in the log, or refused as a
//! `validate_doc_update` of CouchDB's would.
//!
//! This stands before all else that is done with a write: a refused document has never been there. Of a `_bulk_docs` it is taken
//! out while the others pass, and its row is put back into the answer.

mod batch;
mod judge;
mod single;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::Method;

use super::{
    Answer, Call, Writes,
    writes::room::{Place, Room},
};
use crate::couch::Route;
pub use judge::Judge;

/// What becomes of a client's document that does not fit its class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Validate {
    /// It is not looked at.
    #[default]
    Off,
    /// It is written, and the log tells.
    Warn,
    /// It is refused.
    Enforce,
}

/// Looks at documents before they are written.
pub struct Validating {
    judge: Judge,
    held: Held,
    writes: Arc<dyn Writes>,
}

/// Where documents are held while they are read.
#[derive(Clone)]
struct Held {
    room: Arc<Room>,
    /// The longest document for which there can be room, in bytes.
    longest: usize,
}

/// Why documents could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unseen {
    /// One is longer than this.
    #[error("a document is longer than {0} bytes, with its attachments, and cannot be validated")]
    TooLong(usize),
    /// So many of a batch were refused that the rows which tell it take more than this.
    #[error("what is refused of this batch takes more than {0} bytes to tell: send less at once")]
    TooManyRefused(usize),
    /// Others are held already.
    #[error("too many documents are being validated: try again")]
    NoRoom,
    /// They are compressed, and cannot be read.
    #[error("Request body is not properly gzipped.")]
    NoGzip,
}

impl Validating {
    /// Looks at what is given to `writes`, if there is anything to look at. Of the documents that are looked at no more than `held`
    /// bytes are held at once.
    pub fn before(writes: Arc<dyn Writes>, judge: Option<Judge>, held: usize) -> Arc<dyn Writes> {
        let Some(judge) = judge else { return writes };
        let room = Arc::new(Room::new(held));
        let held = Held { room, longest: held };
        Arc::new(Self { judge, held, writes })
    }
}

impl Held {
    /// Room for `bytes`; whatever is given up for it.
    fn take(&self, bytes: usize) -> Result<Place, Unseen> {
        if bytes > self.longest {
            return Err(Unseen::TooLong(self.longest));
        }
        let place = self.room.take(bytes);
        if place.size < bytes {
            Err(Unseen::NoRoom)
        } else {
            Ok(place)
        }
    }
}

impl Writes for Validating {
    fn forward(&self, call: Call) -> BoxFuture<'_, Answer> {
        match &call.route {
            Route::BulkDocs { .. } => Box::pin(batch::forward(self, call)),
            Route::PostDocument { .. } => Box::pin(single::forward(self, call, None)),
            Route::Document { id, .. } if call.method == Method::PUT && self.judge.mode(id) > Validate::Off => {
                let id = id.clone();
                Box::pin(single::forward(self, call, Some(id)))
            }
            _ => self.writes.forward(call),
        }
    }
}
