//! Real PouchDB apps in three versions on one database, through the real proxy, on real sockets.
//!
//! Every test runs one script of `tests/pouchdb`, which tells its story. Behind the proxy stands the embedded store, or the
//! CouchDB that `COUCHDB_URL` names, with an admin's credentials: every story has a database of its own there, and deletes it.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod binary;
mod couch;
#[path = "../support/npm.rs"]
mod npm;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{self, Command},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use binary::Chesterfield;
use couch::{Couch, Death, credited};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Lets a story happen before these proxies; `couch`, with credentials, is for what passes them by.
fn tell(story: &str, proxies: &[String], couch: &str) -> Result<(), String> {
    tell_of(story, &name(), proxies, couch)
}

/// A name that no other database has.
fn name() -> String {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    let (process, number) = (process::id(), NAMES.fetch_add(1, Ordering::Relaxed));
    format!("todos-{process}-{number}-{}", Timestamp::now().as_millisecond())
}

/// The same in a database of this name.
fn tell_of(story: &str, name: &str, proxies: &[String], couch: &str) -> Result<(), String> {
    npm::node_modules();
    let proxies: Vec<String> = proxies.iter().map(|url| credited(url)).collect();
    let node = Command::new("node")
        .arg(npm::folder().join(story).with_extension("mjs"))
        .env("PROXIES", proxies.join(" "))
        .env("COUCH", couch)
        .env("DATABASE", name)
        .env("CHESTERFIELD", env!("CARGO_BIN_EXE_chesterfield"))
        .output()
        .expect("node");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match node.status.success() {
        true => Ok(()),
        false => Err(format!("{}\n{}", text(&node.stdout), text(&node.stderr))),
    }
}

/// Before one proxy, with the store embedded in it if there is no CouchDB.
fn before_one_proxy(story: &str) {
    before_a_proxy_with(&[], story);
}

/// Before a proxy with these manifests beside, or in place of, the usual ones.
fn before_a_proxy_with(manifests: &[Value], story: &str) {
    let schemas = tempfile::tempdir().unwrap();
    let (ours, apps) = (
        Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas"),
        schemas.path().join("apps"),
    );
    fs::create_dir(&apps).unwrap();
    for part in ["classes", "lenses"] {
        symlink(ours.join(part), schemas.path().join(part)).unwrap();
    }
    for entry in fs::read_dir(ours.join("apps")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), apps.join(entry.file_name())).unwrap();
    }
    for manifest in manifests {
        let version = manifest["version"].as_str().unwrap();
        fs::write(apps.join(format!("todo-app-{version}.json")), manifest.to_string()).unwrap();
    }
    let couch = couch::url();
    let proxy = Chesterfield::serve_with(couch.as_deref().unwrap_or("embedded"), schemas.path());
    let couch = couch.unwrap_or_else(|| proxy.url());
    if let Err(failure) = tell(story, &[proxy.url()], &couch) {
        panic!("{failure}\nThe proxy said:\n{}", proxy.log());
    }
}

/// A manifest of the second version of the todo app.
fn version_2(version: &str, newer: &str) -> Value {
    let dependencies = json!({"settings": "^1.0.0", "todo-item": "^2.0.0", "todo-item-status": "^1.0.0"});
    json!({"name": "todo-app", "version": version, "dependencies": dependencies, "newer": newer})
}

/// Before a proxy that is killed at the first fan-outs of edits with `deadly` in them, and that follows the story's database as is said;
/// answers how often it was.
fn before_a_mortal_proxy(story: &str, death: Death, times: usize, follower: &str) -> usize {
    let (way, deadly) = Couch::deadly("deadly", death, times);
    let (couch, name) = (credited(&way.url()), name());
    let config = format!("databases: [{name}]\nfollower: {follower}\n");
    let proxy = Chesterfield::configured(&couch, Path::new("schemas"), &config);
    let url = proxy.url();
    let proxy = Arc::new(Mutex::new(proxy));
    let mortal = proxy.clone();
    let deaths = thread::spawn(move || deadly.iter().map(|()| mortal.lock().unwrap().replace()).count());
    if let Err(failure) = tell_of(story, &name, &[url], &couch) {
        panic!("{failure}\nThe proxies said:\n{}", proxy.lock().unwrap().log());
    }
    drop(way);
    deaths.join().unwrap()
}

#[test]
fn a_todo_appears_in_every_version() {
    before_one_proxy("created");
}

#[test]
fn what_only_newer_versions_know_outlives_older_edits() {
    before_one_proxy("status");
}

#[test]
fn edits_deletes_and_re_creations_travel() {
    before_one_proxy("edits");
}

#[test]
fn each_version_holds_what_it_can_use() {
    before_one_proxy("visible");
}

#[test]
fn offline_edits_are_one_conflict_in_all_versions() {
    before_one_proxy("conflicts");
}

#[test]
fn edits_may_meet_in_some_versions_only() {
    before_one_proxy("merged");
}

#[test]
fn hundreds_of_offline_revisions_are_pushed_at_once() {
    before_one_proxy("bulk");
}

#[test]
fn attachments_travel() {
    before_one_proxy("attachments");
}

#[test]
fn an_update_fetches_what_is_missing() {
    before_one_proxy("updated");
}

#[test]
fn who_returns_to_an_older_version_gets_the_older_documents() {
    before_one_proxy("returned");
}

#[test]
fn what_was_withheld_comes_with_the_update() {
    before_a_proxy_with(&[version_2("2.0.0", "withhold")], "withheld");
}

#[test]
fn an_update_that_sees_the_same_goes_on_where_it_was() {
    before_a_proxy_with(&[version_2("2.0.1", "seamless")], "patched");
}

#[test]
fn who_may_not_write_checkpoints_misses_nothing() {
    let way = Couch::guarded();
    let couch = credited(&way.url());
    let proxy = Chesterfield::serve(&couch);
    if let Err(failure) = tell("read_only", &[proxy.url()], &couch) {
        panic!("{failure}\nThe proxy said:\n{}", proxy.log());
    }
}

#[test]
fn apps_may_meet_different_proxies() {
    let way = Couch::open();
    let couch = credited(&way.url());
    let [one, other] = [(); 2].map(|()| Chesterfield::serve(&couch));
    if let Err(failure) = tell("two_proxies", &[one.url(), other.url()], &couch) {
        panic!("{failure}\nThe proxies said:\n{}\nand\n{}", one.log(), other.log());
    }
}

#[test]
fn the_next_write_repairs_what_a_killed_proxy_left() {
    assert_eq!(
        before_a_mortal_proxy("killed", Death::BeforeFanOut, usize::MAX, "off"),
        2
    );
}

#[test]
fn a_write_is_not_carried_twice_when_its_proxy_is_killed() {
    assert_eq!(
        before_a_mortal_proxy("killed_late", Death::AfterFanOut, usize::MAX, "off"),
        1
    );
}

#[test]
fn what_a_killed_proxy_left_is_found_by_the_one_in_its_place() {
    let follower = "{ sweep: 100ms, pause: 10ms, lease: 1s }";
    assert_eq!(before_a_mortal_proxy("followed", Death::BeforeFanOut, 1, follower), 1);
}
