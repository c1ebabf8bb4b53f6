//! A version is retired, and a real PouchDB still has something to say in it. Behind the proxy stands the embedded store, or the
//! CouchDB that `COUCHDB_URL` names.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/binary.rs"]
mod binary;
#[path = "support/client.rs"]
mod client;
#[path = "support/npm.rs"]
mod npm;

use std::{fs, os::unix::fs::symlink, path::Path};

use binary::{Server, chesterfield};

#[test]
fn a_retired_version_may_push_and_is_told_what_to_update_to() {
    let folder = tempfile::tempdir().unwrap();
    let (schemas, apps) = (
        Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas"),
        folder.path().join("schemas/apps"),
    );
    fs::create_dir_all(&apps).unwrap();
    for part in ["classes", "lenses"] {
        symlink(schemas.join(part), folder.path().join("schemas").join(part)).unwrap();
    }
    for entry in fs::read_dir(schemas.join("apps")).unwrap() {
        let entry = entry.unwrap();
        let manifest = fs::read_to_string(entry.path()).unwrap();
        let manifest = manifest.replace(
            r#""version": "1.2.0","#,
            r#""version": "1.2.0", "sunset": "2024-02-29","#,
        );
        fs::write(apps.join(entry.file_name()), manifest).unwrap();
    }
    let config = folder.path().join("config.yaml");
    fs::write(&config, "app-version: { retired: { writes: accept } }\n").unwrap();

    let mut serve = chesterfield(folder.path());
    let server = Server::start(
        serve
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("CHESTERFIELD_UPSTREAM", client::upstream()),
    );
    assert!(
        server
            .screen
            .contains("todo-app@1.2.0: settings ^1.0.0, todo-item ^1.1.0 (retired)"),
        "{}",
        server.screen
    );
    client::run("retired.mjs", &server);
}
