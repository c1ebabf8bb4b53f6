//! CouchDB's vocabulary, without I/O: documents, revisions, revision trees, routes, selectors, feeds of changes.

pub mod document;
pub mod feed;
pub mod rev;
pub mod route;
pub mod selector;
pub mod tree;

pub use document::{Document, Fields};
pub use rev::{InvalidRev, Rev};
pub use route::Route;
pub use selector::Selector;
pub use tree::{Content, NodeId, RevTree};
