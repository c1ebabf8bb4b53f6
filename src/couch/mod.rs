//! CouchDB's vocabulary, without I/O: documents, feeds of changes, listings, revisions, revision trees, routes, selectors.

pub mod attachments;
mod diff;
pub mod doc_ids;
pub mod document;
pub mod elements;
pub mod feed;
pub mod listing;
pub(crate) mod nesting;
pub mod rev;
pub mod route;
pub mod selector;
mod three_way;
pub mod tree;

pub use attachments::{Attachment, Attachments};
pub use diff::Diff;
pub use doc_ids::DocIds;
pub use document::{Document, Fields};
pub use elements::Elements;
pub use rev::{InvalidRev, Rev};
pub use route::Route;
pub use selector::Selector;
pub use three_way::{ThreeWay, three_way};
pub use tree::{Content, NodeId, RevTree};
