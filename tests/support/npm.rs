//! The real PouchDB of `tests/pouchdb`, installed once however many test binaries ask for it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// The folder whose scripts tests run: `node tests/pouchdb/x.mjs`.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pouchdb")
}

/// The installed packages. Runs `npm ci` the first time and whenever the lock file has changed since.
pub fn node_modules() -> PathBuf {
    let folder = folder();
    let modules = folder.join("node_modules");
    // Test binaries run side by side, as processes: a lock on a file is all they share.
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("npm.lock")).expect("a lock file");
    lock.lock().expect("the lock");
    let wanted = fs::read_to_string(folder.join("package-lock.json")).expect("tests/pouchdb/package-lock.json");
    let stamp = modules.join(".installed");
    if fs::read_to_string(&stamp).ok().as_deref() != Some(wanted.as_str()) {
        let npm = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .output();
        let npm = npm.expect("npm: the tests with real clients need Node.js 20 or newer");
        assert!(npm.status.success(), "npm ci: {}", String::from_utf8_lossy(&npm.stderr));
        fs::write(stamp, wanted).expect("a writable node_modules");
    }
    modules
}
