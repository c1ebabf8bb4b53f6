//! CouchDB's vocabulary, without I/O: revisions, revision trees, routes.

pub mod rev;

pub use rev::{InvalidRev, Rev};
