//! The shell: from a socket to the upstream and back, and what is done to a request on the way.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, Method, Request, request};

use crate::{
    couch::Route,
    schema::{AppManifest, AppVersion, Apps, Filter},
    upstream::Body,
};

mod changes;
mod checkpoint;
mod cors;
mod databases;
mod encoding;
mod etag;
mod headers;
mod lifecycle;
mod live;
mod prefix;
mod reads;
mod replicate;
pub mod respond;
pub mod server;
mod service;
mod shape;
mod stack;
mod trace;
pub mod validate;
mod version;
pub mod writes;

pub use changes::Changes;
pub use cors::{Cors, InvalidOrigin, Origin, Origins};
pub use databases::{Databases, InvalidPattern};
pub use lifecycle::Retirement;
pub use respond::Error;
pub use server::serve;
pub use service::{Answer, Passing, Proxy, Writes};

/// What the proxy has to know beside its upstream: plain data.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The header in which a client declares its app's version.
    pub version_header: HeaderName,
    /// What becomes of a client that declares none.
    pub undeclared: Undeclared,
    /// The same, in these databases; the first that fits counts.
    pub undeclared_in: Vec<(Databases, Undeclared)>,
    /// What becomes of a client whose version is past its end.
    pub retirement: Retirement,
    /// The databases that hold documents in versions; all others are untouched.
    pub databases: Databases,
    /// All manifests.
    pub apps: Apps,
    /// The most that is read of a body that has to be read whole: a `_changes` filter, jobs of replication. More is refused with
    /// 413.
    pub filter_limit: usize,
    /// The most headers a request may have; more are refused with 431.
    pub headers: usize,
    /// How long the server waits for clients.
    pub timeouts: Timeouts,
    /// What web apps of other origins may do; none: what CouchDB's own settings say.
    pub cors: Option<Cors>,
    /// Where documents that an app does not see are taken out of `_changes`.
    pub changes: Changes,
}

/// What becomes of a request that declares no version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Undeclared {
    /// It sees everything.
    #[default]
    Pass,
    /// 400.
    Reject,
    /// It is taken to be this one.
    Default(AppVersion),
}

/// How long the server waits for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the head of a request, and so for the next one on a kept-alive connection.
    pub head: Duration,
    /// Between the bytes of a request's body, while it is waited for.
    pub body: Duration,
    /// For open requests, once the server is told to stop. Live feeds are cut at once.
    pub drain: Duration,
}

/// A request that is understood.
pub struct Call {
    /// Its head, in origin form, without hop-by-hop headers and without what declares the version: the header, or the
    /// beginning of the path.
    pub parts: request::Parts,
    /// Its body, not yet read.
    pub body: Body,
    /// The method CouchDB will go by, see [`crate::couch::route::effective_method`].
    pub method: Method,
    /// What it addresses.
    pub route: Route,
    /// Whether it is in one of the configured databases.
    pub versioned: bool,
    /// The manifest of the version that is declared, or in a database assumed: none if it is neither, and where versions do not
    /// count.
    pub app: Option<Arc<AppManifest>>,
}

impl Call {
    /// What is kept from the client when it replicates this database; none if it sees everything.
    pub fn replicates(&self) -> Option<&Filter> {
        self.app.as_ref().filter(|_| self.versioned)?.replicates.as_ref()
    }

    /// What is kept from the client when it reads many documents of this database at once; none if it sees everything.
    pub fn reads(&self) -> Option<&Filter> {
        self.app.as_ref().filter(|_| self.versioned)?.reads.as_ref()
    }

    /// As it goes upstream.
    pub fn into_request(self) -> Request<Body> {
        Request::from_parts(self.parts, self.body)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version_header: HeaderName::from_static("app-version"),
            undeclared: Undeclared::default(),
            undeclared_in: Vec::new(),
            retirement: Retirement::default(),
            databases: Databases::default(),
            apps: Apps::default(),
            filter_limit: 1 << 20,
            headers: server::HEADERS,
            timeouts: Timeouts::default(),
            cors: None,
            changes: Changes::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(30),
            // As CouchDB waits (`attachment_writer_timeout`, and mochiweb's own).
            body: Duration::from_secs(300),
            drain: Duration::from_secs(30),
        }
    }
}
