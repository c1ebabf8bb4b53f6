//! CouchDB's vocabulary, without I/O: documents, revisions and revision trees.

pub mod document;
pub mod rev;
pub mod tree;

pub use document::{Document, Fields};
pub use rev::{InvalidRev, Rev};
pub use tree::{Content, NodeId, RevTree};
