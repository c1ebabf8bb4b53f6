//! Real PouchDB clients before the binary: the scripts of `tests/pouchdb`. Needs `binary` and `npm` beside it.

use std::{
    env,
    process::{Command, Stdio},
};

use crate::{binary::Server, npm};

fn couch() -> Option<String> {
    env::var("COUCHDB_URL").ok().filter(|url| !url.is_empty())
}

/// The upstream of the tests: the CouchDB that `COUCHDB_URL` names, or the embedded store.
pub fn upstream() -> String {
    couch().unwrap_or_else(|| "embedded".to_owned())
}

/// Runs a script on a server before [`upstream`], with the credentials in that one's URL. Panics with what it says if it fails.
pub fn run(script: &str, server: &Server) {
    npm::node_modules();
    let couch = couch();
    let credentials = couch
        .as_deref()
        .and_then(|url| url.split_once("://")?.1.rsplit_once('@'));
    let url = match credentials {
        Some((credentials, _)) => server.url.replace("://", &format!("://{credentials}@")),
        None => server.url.clone(),
    };
    let mut node = Command::new("node");
    node.arg(npm::folder().join(script)).arg(url).stdin(Stdio::null());
    let told = node.output().expect("node");
    assert!(
        told.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&told.stderr)
    );
}
