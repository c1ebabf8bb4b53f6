//! Every command of the README, executed in order on the real binary, with its output compared.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/binary.rs"]
mod binary;
#[path = "support/document.rs"]
mod document;
#[path = "support/npm.rs"]
mod npm;

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use binary::{Server, chesterfield};
use chesterfield::{
    lens::{LensFile, operation::OperationFile},
    schema::{ClassId, ClassName},
    script::{self, Script},
};
use document::{blocks, is_as_shown};

/// The commands as they are written, and how these tests run the same from within `cargo test`.
const RUN: &str = "cargo run --release --";
const TEST: &str = "cargo test";
const NPM: &str = "npm ci --prefix tests/pouchdb";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A shell in a folder that has what a checkout has, for commands that share variables.
struct Shell<'a> {
    folder: &'a Path,
    /// What was executed before: assignments live on.
    before: String,
}

impl Shell<'_> {
    /// Executes a block and answers what it printed.
    fn execute(&mut self, block: &str) -> String {
        let script = format!("set -eu\n{}{block}", self.before);
        let output = chesterfield_environment(Command::new("bash").args(["-c", &script]), self.folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}\n{complaints}");
        for line in block.lines().filter(|line| is_assignment(line)) {
            self.before.push_str(line);
            self.before.push('\n');
        }
        String::from_utf8(output.stdout).unwrap()
    }
}

fn is_assignment(line: &str) -> bool {
    let name = line.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase()) && !line.contains("$(")
}

/// The environment of `chesterfield()`, for another command.
fn chesterfield_environment<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    for (name, value) in chesterfield(folder).get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(folder)
}

/// A block that ends in `serve`, with whatever variables it sets before.
fn start(block: &str, folder: &Path, upstream: &str) -> Server {
    let binary = env!("CARGO_BIN_EXE_chesterfield");
    let script = block
        .replace(RUN, &format!("exec {binary}"))
        .replace("127.0.0.1:5984", upstream);
    let mut command = Command::new("bash");
    chesterfield_environment(command.args(["-c", &script]), folder).env("CHESTERFIELD_LISTEN", "127.0.0.1:0");
    Server::start(&mut command)
}

#[test]
fn every_command_of_the_readme_does_what_it_says() {
    npm::node_modules();
    let folder = tempfile::tempdir().unwrap();
    for part in ["config.yaml", "schemas", "tests"] {
        symlink(root().join(part), folder.path().join(part)).unwrap();
    }
    // Stands for the reader's own CouchDB: it speaks the same HTTP.
    let data = folder.path().join("upstream");
    let config = folder.path().join("upstream.yaml");
    // It is configured to leave every database alone, as a CouchDB does.
    fs::write(&config, "databases: []\n").unwrap();
    let mut couch = chesterfield(folder.path());
    let couch = couch
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(data);
    let couch = Server::start(couch);
    let couch_address = couch.url.strip_prefix("http://").unwrap();
    let todo = r#"{"schema":"todo-item","version":1,"title":"Older than the proxy","isDone":false}"#;
    // Written as by an app from before, past every lens.
    let past = |arguments: &[&str]| {
        let curl = Command::new("curl")
            .args(["-sf", "-X", "PUT"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(curl.status.success(), "{curl:?}");
    };
    past(&[&format!("{}/todos", couch.url)]);
    past(&[&format!("{}/todos/todo-item:old:v:1", couch.url), "-d", todo]);

    let mut server: Option<Server> = None;
    let mut shell = Shell {
        folder: folder.path(),
        before: String::new(),
    };
    let blocks = blocks("README.md");
    let mut executed = 0;
    for (n, (language, block)) in blocks.iter().enumerate() {
        if language != "sh" || block.trim() == TEST {
            continue;
        }
        executed += 1;
        if block.trim_end().ends_with(" serve") {
            server = Some(start(block, folder.path(), couch_address));
            continue;
        }
        let running = server.as_ref().unwrap().url.strip_prefix("http://").unwrap();
        let script = block
            .replace("127.0.0.1:5985", running)
            .replace("127.0.0.1:5984", couch_address)
            .replace(RUN, env!("CARGO_BIN_EXE_chesterfield"))
            .replace(NPM, "true");
        let printed = shell.execute(&script);
        match blocks
            .get(n + 1)
            .filter(|(language, _)| language == "json" || language == "text")
        {
            Some((_, shown)) => {
                let shown = shown.replace("127.0.0.1:5984", couch_address);
                assert!(is_as_shown(&printed, &shown), "{block}\nprinted\n{printed}");
            }
            None => assert_eq!(printed, "", "the README does not show what this prints: {block}"),
        }
    }
    assert_eq!(executed, 14, "a block of commands was added or lost");
    let screen = &server.as_ref().unwrap().screen;
    assert!(
        screen.contains(&format!("upstream   {} (CouchDB ", couch.url)),
        "{screen}"
    );
}

#[test]
fn the_readme_shows_the_script_that_is_there() {
    let script = fs::read_to_string(npm::folder().join("tour.mjs")).unwrap();
    let shown = blocks("README.md")
        .into_iter()
        .find(|(language, _)| language == "js")
        .unwrap()
        .1;
    assert_eq!(shown, script);
}

/// `cargo test` cannot run itself: that the README names it, and that it is what is run before a merge, has to do.
#[test]
fn the_test_command_is_the_one_of_the_ci() {
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(
        blocks("README.md")
            .iter()
            .any(|(language, text)| language == "sh" && text.trim() == TEST)
    );
    assert!(ci.lines().any(|line| line == TEST), "{ci}");
}

#[test]
fn the_lenses_of_the_reference_compile_and_their_examples_hold() {
    let classes = ["a@1", "a@2", "a-part@1", "b@1"];
    let look_up = |name: &ClassName| classes.iter().position(|class| *class == name.to_string()).map(ClassId);
    let lenses = blocks("schemas/README.md")
        .into_iter()
        .filter(|(language, _)| language == "yaml");
    let scripts: HashMap<String, String> = blocks("schemas/README.md")
        .into_iter()
        .filter(|(language, _)| language == "js")
        .map(|(_, text)| (text.lines().next().unwrap().trim_start_matches("// ").to_owned(), text))
        .collect();
    let read = |file: &str| scripts.get(file).cloned().ok_or_else(|| "it is not shown".to_owned());
    let mut shown = String::new();
    for (_, text) in lenses {
        let file: LensFile = serde_saphyr::from_str(&text).unwrap();
        let script = file
            .script
            .as_ref()
            .map(|name| Script::load(name, &read, script::Limits::default()).unwrap());
        let lens = file
            .compile_with(&look_up, script)
            .unwrap_or_else(|flaws| panic!("{text}{flaws:?}"));
        assert_eq!(lens.run_examples(), [], "{text}");
        assert!(!file.examples.is_empty() || lens.step().is_end(), "{text}");
        shown.push_str(&text);
    }
    let page = fs::read_to_string(root().join("schemas/README.md")).unwrap();
    for operation in operations() {
        assert!(page.contains(&format!("\n### {operation}\n")), "{operation}");
        assert!(shown.contains(&format!("- {operation}:")), "{operation}");
    }
}

/// The names of all operations, as the form of lens files tells them to whoever writes none of them.
fn operations() -> Vec<String> {
    let error = serde_json::from_str::<OperationFile>(r#"{"none":{}}"#)
        .unwrap_err()
        .to_string();
    let (_, expected) = error.split_once("expected one of").unwrap();
    let names: Vec<String> = expected.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect();
    assert!(names.iter().any(|name| name == "rename"), "{error}");
    names
}
