//! A CouchDB-compatible store inside the binary, behind the same seam as a real one: for trying out and for tests.
//!
//! Storage, revision trees and the Mango matcher are rouchdb's; what is here is CouchDB's HTTP, as CouchDB 3.5.2 answered
//! in the recordings that `tests/transcripts` replays. Everybody is an admin without a name.
//! What it lacks answers 501 `not_implemented`: views, filter and validation functions (the latter are stored and not run),
//! indexes, `_replicate` and `_replicator`, `_users`, `_db_updates`, `_local_docs`, `_purge`, partitions, configuration.

mod all_docs;
mod attachments;
mod bulk;
mod changes;
mod database;
mod documents;
mod edit;
mod feed;
mod files;
mod filter;
mod find;
mod multipart;
mod request;
mod respond;
mod rev_hash;
mod routes;
mod server;
mod store;
mod write;

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Method, Request, Response};

use self::{respond::Failure, store::Store};
use super::Body;

/// The embedded store as a tower service; clones share the databases.
#[derive(Clone)]
pub struct Embedded {
    store: Arc<Store>,
}

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory, or a file in it.
    #[error("the embedded store's files: {0}")]
    Io(#[from] std::io::Error),
    /// A database in it.
    #[error("the embedded store's databases: {0}")]
    Storage(#[from] rouchdb_core::error::RouchError),
}

impl Error {
    fn stopped(error: tokio::task::JoinError) -> Self {
        Self::Io(std::io::Error::other(error))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let as_storage = |error: std::io::Error| rouchdb_core::error::RouchError::Io(error);
        match error {
            Error::Io(error) => as_storage(error).into(),
            Error::Storage(error) => error.into(),
        }
    }
}

impl Embedded {
    /// Databases as redb files in `dir`, which is made if it is not there. A write is on disk before it is answered.
    pub async fn open(dir: &Path) -> Result<Self, Error> {
        Ok(Self {
            store: Arc::new(Store::open(dir).await?),
        })
    }

    /// Databases that live as long as the service.
    pub fn memory() -> Self {
        Self {
            store: Arc::new(Store::memory()),
        }
    }

    /// The same, and of each branch of a document they keep so many revisions, from 1, as CouchDB does after `PUT /db/_revs_limit`.
    pub fn stemming(revs_limit: u64) -> Self {
        Self {
            store: Arc::new(Store::stemming(revs_limit)),
        }
    }
}

impl tower::Service<Request<Body>> for Embedded {
    type Response = Response<Body>;
    type Error = super::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let store = self.store.clone();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let answer = async move { routes::answer(&store, request).await };
        Box::pin(async move {
            if reads {
                return Ok(answer.await);
            }
            // A write that has begun is finished though its client has gone: dropped between its check and its commit, it
            // would let another edit check the same leaf.
            let name = "embedded".to_owned();
            let task = tokio::spawn(answer).await;
            task.map_err(|error| super::Error::Broken {
                name,
                source: error.into(),
            })
        })
    }
}
