//! `chesterfield check` and what `serve` does with the same problems: output and exit codes.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/binary.rs"]
mod binary;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use binary::chesterfield;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder with one of each problem.
fn broken() -> PathBuf {
    root().join("tests/check/broken")
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn what_is_in_the_repository_is_fine() {
    let (code, said, complaints) = run(chesterfield(root()).arg("check"));
    assert_eq!((code, complaints.as_str()), (0, ""), "{said}");
    assert!(said.starts_with("config.yaml and schemas are fine.\n"), "{said}");
    assert!(
        said.contains("todo-item@1 <-> todo-item@2 + todo-item-status@1"),
        "{said}"
    );
}

/// `tests/check/broken/expected.txt`, to the letter.
#[test]
fn every_problem_is_told_at_once() {
    let expected = fs::read_to_string(broken().join("expected.txt")).unwrap();
    let (code, said, complaints) = run(chesterfield(&broken()).arg("check"));
    assert_eq!(complaints, expected);
    assert_eq!((code, said.as_str()), (64, ""));
    assert!(!complaints.contains("secret"), "the upstream's password");
}

#[test]
fn serve_refuses_to_start_on_the_same_problems() {
    let expected = fs::read_to_string(broken().join("expected.txt")).unwrap();
    assert_eq!(run(chesterfield(&broken()).arg("serve")), (64, String::new(), expected));
}

#[test]
fn variables_and_options_take_precedence_and_are_named() {
    let check = |variables: &[(&str, &str)], options: &[&str]| {
        run(chesterfield(root())
            .arg("check")
            .args(options)
            .envs(variables.iter().copied()))
    };
    let (code, _, complaints) = check(
        &[("CHESTERFIELD_LISTEN", "nowhere"), ("CHESTERFIELD_UPSTREAM", "couch")],
        &[],
    );
    assert_eq!(
        (code, complaints.as_str()),
        (
            64,
            "CHESTERFIELD_LISTEN
    `nowhere` is no address to listen on
    mend: write an IP address and a port, as in `127.0.0.1:5985`, `0.0.0.0:5985` or `[::1]:5985`

CHESTERFIELD_UPSTREAM
    the upstream's URL has to begin with http:// or https://
    mend: write `embedded`, or the URL of a CouchDB as in `http://user:password@127.0.0.1:5984`

2 problems
"
        )
    );
    let (_, _, complaints) = check(&[("CHESTERFIELD_LISTEN", "127.0.0.1:1")], &["--listen", "here"]);
    assert!(
        complaints.starts_with("--listen\n    `here` is no address"),
        "{complaints}"
    );
    let (_, _, complaints) = check(&[("CHESTERFIELD_SCHEMAS", "no/such")], &[]);
    assert!(
        complaints.starts_with("no/such\n    cannot be read: No such file"),
        "{complaints}"
    );
    let (_, _, complaints) = check(&[("CHESTERFIELD_CONFIG", "no.yaml")], &[]);
    assert!(
        complaints.starts_with("no.yaml\n    cannot be read: No such file"),
        "{complaints}"
    );
    // Empty is not set.
    assert_eq!(check(&[("CHESTERFIELD_LISTEN", "")], &[]).0, 0);
    let mended = broken().join("schemas");
    assert_eq!(check(&[], &["--schemas", mended.to_str().unwrap()]).0, 64);
}

#[test]
fn an_empty_folder_needs_no_file_but_schemas() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, complaints) = run(chesterfield(folder.path()).arg("check"));
    assert_eq!(code, 64);
    assert!(complaints.starts_with("schemas\n    cannot be read"), "{complaints}");
    let schemas = root().join("schemas");
    let (code, said, _) = run(chesterfield(folder.path()).arg("check").arg("--schemas").arg(&schemas));
    assert!(code == 0 && said.starts_with("The defaults and "), "{said}");
    // Paths in a file begin in its folder, wherever the process runs.
    let file = folder.path().join("other.yaml");
    fs::write(&file, "schemas: here\napp-version: { undeclared: todo-app@9.0.0 }\n").unwrap();
    fs::create_dir_all(folder.path().join("here/apps")).unwrap();
    for part in ["classes", "lenses", "apps"] {
        fs::create_dir_all(folder.path().join("here").join(part)).unwrap();
        for entry in fs::read_dir(schemas.join(part)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(
                &path,
                folder.path().join("here").join(part).join(path.file_name().unwrap()),
            )
            .unwrap();
        }
    }
    let (_, _, complaints) = run(chesterfield(root()).args(["check", "--config"]).arg(&file));
    assert_eq!(
        complaints,
        format!(
            "{} /app-version/undeclared
    `todo-app` has no major version 9; known are: todo-app@1.2.0, todo-app@2.0.0, todo-app@3.0.0
    mend: write `pass`, `reject`, or the version to assume, as in `todo-app@2.0.0`

1 problem
",
            file.display()
        )
    );
}

#[test]
fn a_wrong_command_line_is_64_and_help_is_0() {
    assert_eq!(run(chesterfield(root()).arg("chekc")).0, 64);
    assert_eq!(run(&mut chesterfield(root())).0, 64);
    for help in [&["--help"][..], &["check", "--help"], &["serve", "--help"]] {
        let (code, said, _) = run(chesterfield(root())
            .args(help)
            .env("CHESTERFIELD_UPSTREAM", "http://a:secret@b"));
        assert_eq!(code, 0);
        assert!(said.len() > 500 && !said.contains("secret"), "{said}");
    }
}
