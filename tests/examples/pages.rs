//! The schemas of the apps are clean, and the commands of their pages do what they say.

use std::{
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use crate::{
    binary::{Server, chesterfield},
    document::{blocks, is_as_shown},
};

const NAMES: [&str; 4] = ["address-book", "inventory", "chat", "planner"];

/// The command as pages write it.
const RUN: &str = "cargo run --release --";

#[test]
fn every_example_is_clean() {
    for name in NAMES {
        for arguments in [&["check", "--deny-warnings"][..], &["test"]] {
            let mut command = chesterfield(&root());
            let command = command
                .args(arguments)
                .arg("--config")
                .arg(format!("examples/{name}/config.yaml"));
            let Output { status, stdout, stderr } = command.output().unwrap();
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&stdout),
                String::from_utf8_lossy(&stderr)
            );
            assert!(status.success(), "{name}: {said}");
            assert!(
                said.contains(if arguments.len() > 1 { "are fine" } else { "0 failed" }),
                "{said}"
            );
        }
    }
}

#[test]
fn every_command_of_their_pages_does_what_it_says() {
    for name in NAMES {
        let folder = tempfile::tempdir().unwrap();
        symlink(root().join("examples"), folder.path().join("examples")).unwrap();
        let page = format!("examples/{name}/README.md");
        let blocks = blocks(&page);
        let mut server: Option<Server> = None;
        for (n, (_, block)) in blocks.iter().enumerate().filter(|(_, (language, _))| language == "sh") {
            let is_serve = block.contains(&format!("{RUN} serve "));
            let address = server
                .as_ref()
                .map_or("127.0.0.1:0", |server| server.url.strip_prefix("http://").unwrap());
            let script = block
                .replace(RUN, env!("CARGO_BIN_EXE_chesterfield"))
                .replace("127.0.0.1:5985", address);
            let mut shell = Command::new("bash");
            let script = if is_serve {
                format!("exec {script}")
            } else {
                format!("set -eu\n{script}")
            };
            let shell = shell
                .args(["-c", &script])
                .current_dir(folder.path())
                .stdin(Stdio::null());
            for (variable, value) in chesterfield(folder.path()).get_envs() {
                match value {
                    Some(value) => shell.env(variable, value),
                    None => shell.env_remove(variable),
                };
            }
            if is_serve {
                shell
                    .env("CHESTERFIELD_LISTEN", "127.0.0.1:0")
                    .env("CHESTERFIELD_DATA", folder.path().join("data"));
                server = Some(Server::start(shell));
                continue;
            }
            let output = shell.output().unwrap();
            assert!(output.status.success(), "{page}: {block}{output:?}");
            let printed = String::from_utf8(output.stdout).unwrap();
            let shown = blocks.get(n + 1).filter(|(language, _)| language != "sh").unwrap();
            assert!(is_as_shown(&printed, &shown.1), "{page}: {block}\nprinted\n{printed}");
        }
        assert!(server.is_some(), "{page} does not say how to serve it");
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
