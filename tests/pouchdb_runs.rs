//! The clients of the other tests can be installed and run.

#[path = "support/npm.rs"]
mod npm;

use std::process::Command;

#[test]
fn node_runs_pouchdb() {
    npm::node_modules();
    let node = Command::new("node")
        .arg(npm::folder().join("smoke.mjs"))
        .output()
        .expect("node");
    assert_eq!(
        String::from_utf8_lossy(&node.stdout),
        "leveldb a\nmemory a\n",
        "{node:?}"
    );
}
