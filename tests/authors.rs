//! What those who write schemas use: `chesterfield test`, `transform` and `new-version`.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/binary.rs"]
mod binary;

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use binary::chesterfield;
use tempfile::TempDir;

/// A copy of the repository's schemas.
fn schemas() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for part in ["classes", "lenses", "apps"] {
        let to = folder.path().join("schemas").join(part);
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(root.join(part)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
    folder
}

fn write(folder: &TempDir, file: &str, text: &str) {
    let path = folder.path().join("schemas").join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn read(folder: &TempDir, file: &str) -> String {
    fs::read_to_string(folder.path().join("schemas").join(file)).unwrap()
}

/// Exit code, standard output and standard error.
fn run(folder: &TempDir, arguments: &[&str]) -> (i32, String, String) {
    said(chesterfield(folder.path()).args(arguments), "")
}

fn said(command: &mut Command, input: &str) -> (i32, String, String) {
    let command = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that refuses at once reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn transform(arguments: &[&str], input: &str) -> (i32, String, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    said(chesterfield(root).arg("transform").args(arguments), input)
}

const STORIES: &str = "
- name: a blocked todo stays blocked
  writes:
    - todo-item@3: { title: Buy milk, group: groceries }
      todo-item-status@1: { status: blocked }
    - todo-item@1: { title: Buy oat milk, isDone: false }
  expect:
    todo-item@3: { title: Buy oat milk, group: groceries }
    todo-item-status@1: { status: blocked }
- name: a todo waits for its status
  writes:
    - todo-item@3: { title: Buy milk, group: groceries }
  expect:
    todo-item@2: { title: Buy milk }
    todo-item@1: null
- name: a deleted todo is deleted everywhere
  writes:
    - todo-item@1: { title: Buy milk, isDone: false }
    - todo-item@1: null
  expect:
    todo-item@3: null
    todo-item-status@1: null
";

#[test]
fn tests_go_through_the_whole_chain() {
    let folder = schemas();
    write(&folder, "tests/stories.yaml", STORIES);
    let (code, told, _) = run(&folder, &["test", "stories"]);
    let expected = "ok      schemas/tests/stories.yaml: a blocked todo stays blocked
ok      schemas/tests/stories.yaml: a todo waits for its status
ok      schemas/tests/stories.yaml: a deleted todo is deleted everywhere

3 passed, 0 failed
";
    assert_eq!((code, told.as_str()), (0, expected));
    let (code, told, _) = run(&folder, &["test"]);
    assert!(code == 0 && told.ends_with("\n9 passed, 0 failed\n"), "{told}");
    assert_eq!(run(&folder, &["check", "--deny-warnings"]).0, 0);
}

#[test]
fn what_does_not_hold_is_shown_field_by_field() {
    let folder = schemas();
    write(
        &folder,
        "tests/stories.yaml",
        &STORIES.replace("Buy oat milk, group: groceries", "Buy oat milk, group: default"),
    );
    let lens = "lenses/todo-item-2-to-3.yaml";
    write(
        &folder,
        lens,
        &read(&folder, lens).replace("value: default", "value: none"),
    );
    let (code, told, _) = run(&folder, &["test", "blocked todo stays", "joins"]);
    let expected = r#"FAILED  schemas/lenses/todo-item-2-to-3.yaml: a todo of version 2 joins the default group
        from old to new (- expected, + made)
          title: "Buy milk"
        - group: "default"
        + group: "none"
FAILED  schemas/tests/stories.yaml: a blocked todo stays blocked
        todo-item@3 (- expected, + made)
          title: "Buy oat milk"
        - group: "default"
        + group: "groceries"

0 passed, 2 failed
"#;
    assert_eq!((code, told.as_str()), (1, expected));
    let (code, _, complaint) = run(&folder, &["test", "nonsense"]);
    assert_eq!(
        (code, complaint.as_str()),
        (64, "no test has nonsense in its name or the name of its file\n")
    );
}

#[test]
fn a_document_is_shown_in_another_version() {
    let v1 = r#"{"title":"Buy milk","isDone":true,"price":1.0}"#;
    let v3 = r#"{"_id":"todo-item:example:v:3","title":"Buy milk","price":1.0,"schema":"todo-item","version":3,"group":"default"}"#;
    assert_eq!(
        transform(&["todo-item@1", "todo-item@3"], v1),
        (0, format!("{v3}\n"), String::new())
    );
    let (_, all, _) = transform(&["todo-item@1"], v1);
    let ids = [
        "todo-item-status:example:v:1",
        "todo-item:example:v:2",
        "todo-item:example:v:3",
    ];
    assert_eq!(all.lines().count(), 3);
    assert!(all.lines().zip(ids).all(|(line, id)| line.contains(id)), "{all}");
    // Several, one after another or in a list; each tells by its `_id`, or by `schema` and `version`, what it is.
    let todo = r#"{"_id":"todo-item:milk:v:2","title":"Buy milk"}"#;
    let status = |of: &str| format!(r#"{{{of},"status":"done"}}"#);
    let parts = format!("[{todo}, {}]", status(r#""_id":"todo-item-status:milk:v:1""#));
    let v1 = r#"{"_id":"todo-item:milk:v:1","title":"Buy milk","isDone":true,"schema":"todo-item","version":1}"#;
    assert_eq!(transform(&["todo-item@2", "todo-item@1"], &parts).1, format!("{v1}\n"));
    let parts = format!(
        "{{\"title\":\"Buy milk\"}}\n{}",
        status(r#""schema":"todo-item-status","version":1"#)
    );
    assert_eq!(
        transform(&["todo-item@2", "todo-item@1"], &parts).1,
        format!("{}\n", v1.replace("milk:v", "example:v"))
    );
    let several = r#"{"title":"a"} {"title":"b"} {"title":"c"}"#;
    assert_eq!(transform(&["todo-item@3", "todo-item@2"], several).1.lines().count(), 3);
}

#[test]
fn what_was_there_before_keeps_what_it_knows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("existing.json");
    fs::write(
        &file,
        r#"{"title":"Buy milk","group":"groceries"} {"schema":"todo-item-status","version":1,"status":"blocked"}"#,
    )
    .unwrap();
    let existing = file.to_str().unwrap();
    let v1 = r#"{"_id":"todo-item:milk:v:1","title":"Buy oat milk","isDone":false}"#;
    let (code, told, _) = transform(&["todo-item@1", "todo-item@3", "--existing", existing], v1);
    let v3 =
        r#"{"_id":"todo-item:milk:v:3","title":"Buy oat milk","schema":"todo-item","version":3,"group":"groceries"}"#;
    assert_eq!((code, told), (0, format!("{v3}\n")));
    // A document that says no id is of the entity that is there before.
    let before = r#"{"_id":"todo-item:milk:v:3","title":"Buy milk","group":"groceries"}
        {"_id":"todo-item-status:milk:v:1","status":"blocked"}"#;
    fs::write(&file, before).unwrap();
    let v1 = r#"{"title":"Buy oat milk","isDone":false}"#;
    let (code, told, _) = transform(&["todo-item@1", "todo-item@3", "--existing", existing], v1);
    assert_eq!((code, told), (0, format!("{v3}\n")));
    fs::write(&file, format!("{before} {}", before.replace("milk", "bread"))).unwrap();
    let (code, _, complaint) = transform(&["todo-item@1", "todo-item@3", "--existing", existing], v1);
    assert_eq!(code, 65);
    assert!(complaint.contains("several entities"), "{complaint}");
}

#[test]
fn what_cannot_be_shown_says_why() {
    let refused = |arguments: &[&str], input: &str, expected: (i32, &str)| {
        let (code, told, complaint) = transform(arguments, input);
        assert_eq!(
            (code, complaint.as_str()),
            (expected.0, &*format!("{}\n", expected.1)),
            "{told}"
        );
        assert_eq!(told, "");
    };
    refused(
        &["todo-item@9"],
        "{}",
        (
            64,
            "there is no class todo-item@9; known are: settings@1, todo-item-status@1, todo-item@1, todo-item@2, todo-item@3",
        ),
    );
    refused(
        &["todo-item@1"],
        "",
        (
            65,
            "standard input holds no document: `chesterfield transform FROM TO < doc.json`",
        ),
    );
    refused(
        &["todo-item@1"],
        "7",
        (
            65,
            "standard input: invalid type: integer `7`, expected a document, which is a JSON object at line 1 column 1",
        ),
    );
    refused(
        &["todo-item@1"],
        r#"{"_id":"plain"}"#,
        (65, "standard input: `plain` is the id of no class"),
    );
    refused(&["settings@1"], "{}", (65, "no lens ties settings@1 to another class"));
    refused(
        &["todo-item@1", "settings@1"],
        "{}",
        (65, "no lens leads from todo-item@1 to settings@1"),
    );
    refused(
        &["todo-item@2", "todo-item@1"],
        r#"{"title":"Buy milk"}"#,
        (65, "example: a lens waits for todo-item-status@1, which is not there"),
    );
    let folder = schemas();
    let lens = "lenses/todo-item-2-to-3.yaml";
    let convert = "steps:\n  - convert: { field: group, values: [[1, one]] }\n";
    write(&folder, lens, &format!("old: todo-item@2\nnew: todo-item@3\n{convert}"));
    let (code, told, complaint) = said(
        chesterfield(folder.path()).args(["transform", "todo-item@2", "todo-item@3"]),
        r#"{"title":"Buy milk","group":2}"#,
    );
    assert_eq!((code, told.as_str()), (65, ""));
    assert!(
        complaint.contains("no todo-item@3 could be made: `group` is 2,"),
        "{complaint}"
    );
}

/// A part that not every document has, and a class without a successor.
#[test]
fn parts_that_need_not_exist_and_ends_break_no_rule() {
    let folder = tempfile::tempdir().unwrap();
    let class = |name: &str, version: u64, required: &str, properties: &str| {
        let text = format!(
            r#"{{"id": "{name}", "version": "{version}.0.0", "required": [{required}], "properties": {{{properties}}}}}"#
        );
        write(&folder, &format!("classes/{name}@{version}.json"), &text);
    };
    let text = |name: &str| format!(r#""{name}": {{"type": "string"}}"#);
    class("person", 1, r#""name""#, &[text("name"), text("city")].join(", "));
    class("person", 2, r#""name""#, &text("name"));
    class("address", 1, "", &text("city"));
    class("pager", 1, r#""number""#, &text("number"));
    let lens = "old: person@1
new: [person@2, address@1]
parts: { address@1: { default: {}, empty: delete } }
steps: [{ move: { field: city, to: address@1 } }]
examples:
  - name: one without an address
    old: { person@1: { name: Ada } }
    new: { person@2: { name: Ada }, address@1: null }
";
    write(&folder, "lenses/person-1-to-2.yaml", lens);
    write(&folder, "lenses/pager-ends.yaml", "old: pager@1\nnew: []\n");
    let app = r#"{"name": "app", "version": "1.0.0", "dependencies": {"person": ">=1, <3"}}"#;
    write(&folder, "apps/app-1.0.0.json", app);
    let (code, told, complaint) = run(&folder, &["check", "--deny-warnings"]);
    assert_eq!((code, complaint.as_str()), (0, ""), "{told}");
    assert!(told.contains("\n  lenses     pager@1 ends\n"), "{told}");
}

#[test]
fn the_next_version_is_begun_and_passes_as_it_is() {
    let folder = schemas();
    let (code, told, complaint) = run(&folder, &["new-version", "todo-item"]);
    assert_eq!((code, complaint.as_str()), (0, ""));
    for made in [
        "classes/todo-item@4.json",
        "lenses/todo-item-3-to-4.yaml",
        "apps/todo-app-4.0.0.json",
    ] {
        assert!(told.contains(&format!("\n  schemas/{made}\n")), "{told}");
        assert!(!read(&folder, made).is_empty());
    }
    // One document for the whole app, and ids that say no version.
    assert_eq!(run(&folder, &["new-version", "settings", "--app", "todo-app"]).0, 0);
    let story =
        "[{ name: the only one, writes: [{ settings@1: { theme: dark } }], expect: { settings@2: { theme: dark } } }]";
    write(&folder, "tests/settings.yaml", story);
    let shown = said(
        chesterfield(folder.path()).args(["transform", "settings@1", "settings@2"]),
        r#"{"_id":"settings","theme":"dark"}"#,
    );
    let settings = r#"{"_id":"settings:v:2","theme":"dark","schema":"settings","version":2}"#;
    assert_eq!(shown, (0, format!("{settings}\n"), String::new()));
    let first = "classes/note@1.json";
    write(
        &folder,
        first,
        r#"{"id": "note", "version": "1.3.0", "documentId": "note-{key}", "required": ["text"]}"#,
    );
    write(
        &folder,
        "apps/notes-1.0.0.json",
        r#"{"name": "notes", "version": "1.0.0", "dependencies": {"note": "1"}, "sunset": "2020-01-01"}"#,
    );
    assert_eq!(run(&folder, &["new-version", "note"]).0, 0);
    assert!(!read(&folder, "apps/notes-2.0.0.json").contains("sunset"));
    let (code, told, complaint) = run(&folder, &["check", "--deny-warnings"]);
    assert_eq!((code, complaint.as_str()), (0, ""), "{told}");
    assert!(
        told.contains("note@1 <-> note@2") && told.contains("todo-app@5.0.0"),
        "{told}"
    );
    assert_eq!(run(&folder, &["test"]).0, 0);
}

#[test]
fn an_app_that_changes_two_schemas_has_one_next_version() {
    let folder = schemas();
    let (code, told, complaint) = run(&folder, &["new-version", "todo-item", "settings", "todo-item"]);
    assert_eq!((code, complaint.as_str()), (0, ""));
    let made: Vec<&str> = told
        .lines()
        .filter_map(|line| line.strip_prefix("  schemas/"))
        .collect();
    assert_eq!(
        made,
        [
            "classes/todo-item@4.json",
            "classes/settings@2.json",
            "lenses/todo-item-3-to-4.yaml",
            "lenses/settings-1-to-2.yaml",
            "apps/todo-app-4.0.0.json"
        ]
    );
    assert!(
        told.contains("change schemas/classes/todo-item@4.json and schemas/classes/settings@2.json to what"),
        "{told}"
    );
    let manifest: serde_json::Value = serde_json::from_str(&read(&folder, "apps/todo-app-4.0.0.json")).unwrap();
    let of = |schema: &str| manifest["dependencies"][schema].as_str().unwrap().to_owned();
    assert_eq!((of("todo-item"), of("settings")), ("^4.0.0".into(), "^2.0.0".into()));
    let (code, told, complaint) = run(&folder, &["check", "--deny-warnings"]);
    assert_eq!((code, complaint.as_str()), (0, ""), "{told}");
    // Either all of it is made or nothing.
    let (code, told, _) = run(&folder, &["new-version", "todo-item", "todo"]);
    assert_eq!((code, told.as_str()), (64, ""));
    assert!(!folder.path().join("schemas/classes/todo-item@5.json").exists());
}

/// A lens is what its modules make of it, wherever they lie; what it does not import does not concern it.
#[test]
fn a_lens_has_changed_with_what_its_script_imports() {
    let folder = tempfile::tempdir().unwrap();
    for version in 1..=2 {
        let class = format!(r#"{{"id": "note", "version": "{version}.0.0"}}"#);
        write(&folder, &format!("classes/note@{version}.json"), &class);
    }
    let (lens, script) = (
        "old: note@1\nnew: note@2\nscript: note.js\nexamples: [{ name: a, old: { note@1: {} }, new: { note@2: {} } }]\n",
        "import { same } from './.shared/same.js';\n\
         export const up = (docs) => ({ 'note@2': same(docs['note@1']) });\n\
         export const down = (docs) => ({ 'note@1': same(docs['note@2']) });\n",
    );
    write(&folder, "lenses/note-1-to-2.yaml", lens);
    write(&folder, "lenses/note.js", script);
    write(&folder, "lenses/other.js", "export const other = 1;\n");
    let shared = "lenses/.shared/same.js";
    write(&folder, shared, "export const same = (doc) => ({ ...doc });\n");
    let released = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .arg("-r")
        .args([folder.path().join("schemas"), released.path().join("schemas")])
        .status();
    assert!(copied.unwrap().success());
    let released = released.path().join("schemas");
    let since = || {
        let (code, told, complaint) = run(&folder, &["check", "--against", released.to_str().unwrap()]);
        assert_eq!((code, complaint.as_str()), (0, ""));
        told
    };
    assert!(since().contains("\nNothing has changed since "));
    write(&folder, "lenses/other.js", "export const other = 2;\n");
    assert!(since().contains("\nNothing has changed since "));
    write(
        &folder,
        shared,
        "export const same = (doc) => Object.assign({}, doc);\n",
    );
    assert!(since().contains("note@1 <-> note@2 does something else"));
}

/// What is released is in git; then it is changed.
#[test]
fn what_released_apps_cannot_live_with_is_told() {
    let folder = schemas();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        let who = [
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b.example",
            "-c",
            "commit.gpgsign=false",
        ];
        let done = command
            .current_dir(folder.path())
            .args(who)
            .args(arguments)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "released"]);
    let (code, told, _) = run(&folder, &["check", "--against", "HEAD"]);
    assert!(
        code == 0 && told.ends_with("\n\nNothing has changed since HEAD.\n"),
        "{told}"
    );

    // What is new and optional is safe, if the version says so.
    let class = "classes/todo-item@3.json";
    let released = read(&folder, class);
    let added = released.replace(r#""group": {"#, r#""color": { "type": "string" }, "group": {"#);
    write(&folder, class, &added);
    let (code, _, warned) = run(&folder, &["check", "--against", "HEAD"]);
    assert!(
        code == 0 && warned.contains("warning[same-version]") && warned.contains("make it 3.1.0"),
        "{warned}"
    );
    write(&folder, class, &added.replace("3.0.0", "3.1.0"));
    let (code, told, warned) = run(&folder, &["check", "--against", "HEAD", "--deny-warnings"]);
    assert_eq!((code, warned.as_str()), (0, ""));
    let expected = "
Since HEAD
  todo-item@3 is another minor version (3.0.0, now 3.1.0)
    /properties/color: `color` is new and optional: safe for released apps
    works with it: todo-app@3.0.0
    is reached by it: todo-app@1.2.0, todo-app@2.0.0
";
    assert!(told.ends_with(expected), "{told}");

    // What is required breaks apps that do not write it.
    let required = added.replace(
        r#""group"
  ]"#,
        r#""group", "color"
  ]"#,
    );
    assert_ne!(required, added);
    write(&folder, class, &required.replace("3.0.0", "3.1.0"));
    let (code, told, complaint) = run(&folder, &["check", "--against", "HEAD"]);
    assert!(
        code == 64 && told.contains("todo-item@3 is another major version"),
        "{told}"
    );
    assert!(
        complaint.contains("error[breaking-change]: apps that work with todo-item@3 3.0.0 are released:"),
        "{complaint}"
    );
    assert!(
        complaint.contains("`chesterfield new-version todo-item`"),
        "{complaint}"
    );

    // A new version is no change of those that are released.
    git(&["checkout", "-q", "."]);
    assert_eq!(run(&folder, &["new-version", "todo-item"]).0, 0);
    let (code, told, _) = run(&folder, &["check", "--against", "HEAD", "--format", "json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let changes = told["changes"].as_array().unwrap().iter();
    let changes: Vec<String> = changes
        .map(|change| format!("{} {}", change["name"], change["level"]))
        .collect();
    assert_eq!(code, 0);
    assert_eq!(
        changes,
        [r#""todo-item@4" "new""#, r#""todo-item@3 <-> todo-item@4" "new""#]
    );
    assert_eq!(
        told["changes"][1]["apps"],
        serde_json::json!(["todo-app@3.0.0", "todo-app@4.0.0"])
    );

    // A folder does as well, and what is neither is said.
    let copy = tempfile::tempdir().unwrap();
    let done = Command::new("cp")
        .arg("-r")
        .arg(folder.path().join("schemas"))
        .arg(copy.path())
        .status()
        .unwrap();
    assert!(done.success());
    let lens = "lenses/todo-item-3-to-4.yaml";
    write(
        &folder,
        lens,
        &read(&folder, lens).replace("a document of", "documents of"),
    );
    fs::remove_file(folder.path().join("schemas/lenses/todo-item-2-to-3.yaml")).unwrap();
    let earlier = copy.path().join("schemas");
    let (_, told, complaint) = run(&folder, &["check", "--against", earlier.to_str().unwrap()]);
    assert!(
        told.contains("todo-item@3 <-> todo-item@4 does something else"),
        "{told}"
    );
    assert!(told.contains("todo-item@2 <-> todo-item@3 is gone"), "{told}");
    assert!(complaint.contains("error[no-lens]"), "{complaint}");
    let (code, _, complaint) = run(&folder, &["check", "--against", "v1"]);
    assert_eq!(
        (code, complaint.as_str()),
        (
            64,
            "--against: `v1` is no folder, and git knows no such revision here\n"
        )
    );
}

#[test]
fn nothing_that_exists_is_overwritten() {
    let folder = schemas();
    let refused = |arguments: &[&str]| {
        let (code, told, complaint) = run(&folder, arguments);
        assert_eq!(told, "");
        (code, complaint)
    };
    let known = "settings, todo-item-status, todo-item";
    assert_eq!(
        refused(&["new-version", "todo"]),
        (64, format!("there is no schema `todo`; known are: {known}\n"))
    );
    assert_eq!(
        refused(&["new-version", "todo-item", "--app", "todo"]),
        (64, "there is no app `todo`; known are: todo-app\n".to_owned())
    );
    let lens = "lenses/todo-item-3-to-4.yaml";
    write(&folder, lens, "old: todo-item@2\nnew: todo-item@3\n");
    fs::remove_file(folder.path().join("schemas/lenses/todo-item-2-to-3.yaml")).unwrap();
    assert_eq!(
        refused(&["new-version", "todo-item"]),
        (73, format!("schemas/{lens} is there already; nothing was made\n"))
    );
    assert!(!folder.path().join("schemas/classes/todo-item@4.json").exists());
    assert_eq!(read(&folder, lens), "old: todo-item@2\nnew: todo-item@3\n");
}
