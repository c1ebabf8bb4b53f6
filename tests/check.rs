//! `chesterfield check` and what `serve` does with the same problems: output and exit codes.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/binary.rs"]
mod binary;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use binary::{Server, chesterfield};
use chesterfield::schema::Rule;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder with one of each problem that keeps files from being read or understood.
fn broken() -> PathBuf {
    root().join("tests/check/broken")
}

/// A folder whose files can all be read, with one of each rule broken.
fn careless() -> PathBuf {
    root().join("tests/check/careless")
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

/// `tests/check/careless/expected.txt`, to the letter.
#[test]
fn every_broken_rule_is_told() {
    let expected = fs::read_to_string(careless().join("expected.txt")).unwrap();
    let (code, said, complaints) = run(chesterfield(&careless()).args(["check", "--against", "earlier"]));
    assert_eq!(complaints, expected);
    assert_eq!(code, 64);
    assert!(said.starts_with("Since earlier\n"), "{said}");
    let reference = fs::read_to_string(root().join("schemas/README.md")).unwrap();
    for rule in Rule::ALL {
        let told = format!("{}[{}]: ", rule.severity(), rule.code());
        assert!(expected.contains(&told), "no file breaks {told}");
        let row = |line: &str| {
            let line = line.replace(" ** |", " |").replace(" * |", " |");
            line.starts_with(&format!("| `{}` | {} | ", rule.code(), rule.severity()))
        };
        assert!(reference.lines().any(row), "the reference does not tell of {told}");
    }
}

#[test]
fn tools_are_told_the_same_as_one_json_object() {
    let (code, said, complaints) = run(chesterfield(&careless()).args(["check", "--format", "json"]));
    assert_eq!((code, complaints.as_str()), (64, ""));
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    let problems = told["problems"].as_array().unwrap();
    let is = |severity: &str| {
        problems
            .iter()
            .filter(|problem| problem["severity"] == severity)
            .count()
    };
    assert_eq!(
        (&told["errors"], &told["warnings"]),
        (&is("error").into(), &is("warning").into())
    );
    assert!(is("error") > 0 && is("warning") > 0);
    let loose = problems
        .iter()
        .find(|problem| problem["code"] == "loose-class")
        .unwrap();
    assert_eq!(loose["file"], "schemas/classes/page@2.json");
    assert_eq!(loose["at"], "");
    for text in ["what", "mend"] {
        assert!(!loose[text].as_str().unwrap().is_empty());
    }
    let (code, said, _) = run(chesterfield(&broken()).args(["check", "--format=json"]));
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &told["problems"][0]["code"]), (64, &serde_json::Value::Null));
    let (code, said, complaints) = run(chesterfield(root()).args(["check", "--format=json"]));
    assert_eq!((code, complaints.as_str()), (0, ""));
    let told: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(told["problems"], serde_json::json!([]));
}

/// Two versions that nothing ties together, of which an app works with one.
#[test]
fn warnings_fail_only_where_they_are_denied() {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("classes/page@1.json", r#"{"id": "page", "version": "1.0.0"}"#),
        ("classes/page@2.json", r#"{"id": "page", "version": "2.0.0"}"#),
        (
            "apps/app-1.0.0.json",
            r#"{"name": "app", "version": "1.0.0", "dependencies": {"page": "1"}}"#,
        ),
    ] {
        let path = folder.path().join("schemas").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let (code, said, warned) = run(chesterfield(folder.path()).arg("check"));
    assert!(code == 0 && said.contains("are fine"), "{said}");
    assert!(
        warned.contains("warning[loose-class]") && warned.ends_with("\n1 warning\n"),
        "{warned}"
    );
    let (code, said, told) = run(chesterfield(folder.path()).args(["check", "--deny-warnings"]));
    assert_eq!((code, said.as_str(), told), (64, "", warned));
    let (code, ..) = run(chesterfield(folder.path()).args(["check", "--deny-warnings", "--format=json"]));
    assert_eq!(code, 64);
    let serve = &mut chesterfield(folder.path());
    let (_server, first) = Server::start_logging(serve.arg("serve").env("CHESTERFIELD_LISTEN", "127.0.0.1:0"));
    assert!(
        first.contains("WARN") && first.contains("no lens leads from page@1 to page@2"),
        "{first}"
    );
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
