//! The scripts of `docs/clients.md`, run in order before the real binary, with the real clients.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/binary.rs"]
mod binary;
#[path = "support/document.rs"]
mod document;
#[path = "support/npm.rs"]
mod npm;

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use binary::{Server, chesterfield};
use document::{blocks, is_as_shown};

fn output(command: &mut Command, script: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{script}\n{complaints}");
    String::from_utf8(stdout).unwrap()
}

#[test]
fn every_script_does_what_it_shows() {
    npm::node_modules();
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(
        chesterfield(Path::new(env!("CARGO_MANIFEST_DIR")))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data.path()),
    );
    let mut curl = Command::new("curl");
    output(curl.args(["-sf", "-X", "PUT", &format!("{}/todos", server.url)]), "");
    // As an app of version 1 does: there are documents of another schema beside the todos.
    let milk = r#"{"schema":"todo-item","version":1,"title":"Buy milk","isDone":false}"#;
    let document = format!("{}/todos/todo-item:milk:v:1", server.url);
    output(
        Command::new("curl").args(["-sf", "-X", "PUT", &document, "-d", milk]),
        "",
    );
    let page = blocks("docs/clients.md");
    let mut run = Vec::new();
    for (n, (language, script)) in page.iter().enumerate() {
        let printed = match language.as_str() {
            "js" => output(
                Command::new("node")
                    .args(["--input-type=module", "-", &server.url])
                    .current_dir(npm::folder()),
                script,
            ),
            "sh" => output(Command::new("bash").env("proxy", &server.url), script),
            _ => continue,
        };
        let shown = page.get(n + 1).filter(|(language, _)| language == "text");
        let (_, shown) = shown.unwrap_or_else(|| panic!("the page does not show what this prints: {script}"));
        assert!(is_as_shown(&printed, shown), "{script}\nprinted\n{printed}");
        run.push(language.as_str());
    }
    assert_eq!(run, ["js", "js", "js", "js", "js", "sh"], "a script was added or lost");
}

/// What is no script is at least what it says it is.
#[test]
fn the_job_is_json_and_declares_a_version() {
    let page = blocks("docs/clients.md");
    let (_, job) = page.iter().find(|(language, _)| language == "json").unwrap();
    let job: serde_json::Value = serde_json::from_str(job).unwrap();
    assert_eq!(job["source"]["headers"]["App-Version"], "todo-app@2.0.0");
}
