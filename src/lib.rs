//! A migrating reverse proxy for CouchDB: documents live in every supported schema version at once, a write in any
//! version is carried into all others, and each app replicates only the versions it can use.
//!
//! Dependencies point downwards: [`couch`], [`schema`], [`lens`], [`reconcile`] and [`lint`] are pure; [`fanout`], [`follower`], [`proxy`] and
//! [`upstream`] are the shell that does I/O.

pub mod config;
pub mod couch;
pub mod fanout;
pub mod follower;
pub mod lens;
pub mod lint;
pub mod parked;
pub mod proxy;
pub mod reconcile;
pub mod rehearsal;
pub mod schema;
pub mod script;
pub mod upstream;
