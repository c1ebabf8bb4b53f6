//! Real PouchDB apps in three versions on one database, through the real proxy, on real sockets.
//!
//! Every test runs one script of `tests/pouchdb`, which tells its story. Behind the proxy stands the embedded store, or the
//! CouchDB that `COUCHDB_URL` names, with an admin's credentials: every story has a database of its own there, and deletes it.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod binary;
mod couch;
#[path = "../support/npm.rs"]
mod npm;

use std::process::Command;

use binary::Chesterfield;

/// Lets a story happen before these proxies; `couch` is for what passes them by.
fn tell(story: &str, proxies: &[&Chesterfield], couch: &str) {
    npm::node_modules();
    let urls: Vec<String> = proxies.iter().map(|proxy| couch::credited(&proxy.url())).collect();
    let node = Command::new("node")
        .arg(npm::folder().join(story).with_extension("mjs"))
        .env("PROXIES", urls.join(" "))
        .env("COUCH", couch)
        .output()
        .expect("node");
    if !node.status.success() {
        let logs: String = proxies.iter().map(|proxy| proxy.log()).collect();
        let (said, failed) = (
            String::from_utf8_lossy(&node.stdout),
            String::from_utf8_lossy(&node.stderr),
        );
        panic!("{said}\n{failed}\nThe proxies said:\n{logs}");
    }
}

/// A story on one proxy, before its embedded store if there is no CouchDB.
fn tell_on_one_proxy(story: &str) {
    let proxy = match couch::url() {
        None => Chesterfield::serve("embedded"),
        Some(url) => Chesterfield::serve(&url),
    };
    let couch = couch::url().unwrap_or_else(|| proxy.url());
    tell(story, &[&proxy], &couch);
}

#[test]
fn a_todo_appears_in_every_version() {
    tell_on_one_proxy("created");
}

#[test]
fn what_only_newer_versions_know_outlives_older_edits() {
    tell_on_one_proxy("status");
}

#[test]
fn edits_deletes_and_re_creations_travel() {
    tell_on_one_proxy("edits");
}

#[test]
fn each_version_holds_what_it_can_use() {
    tell_on_one_proxy("visible");
}

#[test]
fn offline_edits_are_one_conflict_in_all_versions() {
    tell_on_one_proxy("conflicts");
}
