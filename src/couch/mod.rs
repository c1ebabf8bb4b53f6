//! CouchDB's vocabulary, without I/O: revisions, revision trees, routes, selectors.

pub mod rev;
pub mod route;
pub mod selector;

pub use rev::{InvalidRev, Rev};
pub use route::Route;
pub use selector::Selector;
