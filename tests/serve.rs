//! `chesterfield serve` as people run it: the screen, the embedded upstream, the end.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/binary.rs"]
mod binary;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
};

use binary::{Server, chesterfield};

fn serve(data: &Path) -> Command {
    let mut command = chesterfield(Path::new(env!("CARGO_MANIFEST_DIR")));
    command
        .arg("serve")
        .env("CHESTERFIELD_LISTEN", "127.0.0.1:0")
        .env("CHESTERFIELD_DATA", data);
    command
}

fn get(url: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: todo\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_checked_in_configuration_serves_the_todo_app() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(data.path()));
    assert!(get(&server.url, "/").contains(r#""couchdb":"Welcome""#));
    let screen = server
        .screen
        .replace(&server.url, "URL")
        .replace(data.path().to_str().unwrap(), "DATA");
    assert_eq!(
        screen,
        r#"Chesterfield 0.1.0

  listens    URL
  upstream   embedded, in DATA: for trying out and tests
  config     config.yaml; schemas in schemas
  databases  *
  header     App-Version; who sends none sees every version

  classes    settings@1, todo-item-status@1, todo-item@1, todo-item@2, todo-item@3
  lenses     todo-item@1 <-> todo-item@2 + todo-item-status@1
             todo-item@2 <-> todo-item@3
  apps       todo-app@1.2.0: settings ^1.0.0, todo-item ^1.1.0
             todo-app@2.0.0: settings ^1.0.0, todo-item ^2.0.0, todo-item-status ^1.0.0
             todo-app@3.0.0: settings ^1.0.0, todo-item ^3.0.0, todo-item-status ^1.0.0

  try next   curl -X PUT URL/hello
             curl -X PUT URL/hello/todo-item:milk:v:1 -d '{"schema":"todo-item","version":1,"title":"Buy milk","isDone":false}'
             curl URL/hello/todo-item:milk:v:3
             and then the tour in README.md
  stop       Ctrl-C
"#
    );
    assert_eq!(server.signal("TERM").code(), Some(0));
    assert_eq!(Server::start(&mut serve(data.path())).signal("INT").code(), Some(0));
}

#[test]
fn a_port_or_a_folder_that_is_not_to_be_had_is_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let fails = |options: [&str; 2], with: &str| {
        let output = serve(&folder.path().join("data")).args(options).output().unwrap();
        let complaints = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{complaints}");
        assert!(complaints.starts_with(with), "{complaints}");
    };
    fails(["--listen", &address], &format!("{address} is not to be had: "));
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    fails(["--data", file], &format!("{file}: "));
}

#[test]
fn machines_get_json_lines_and_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = folder.path().join("config.yaml");
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let text = format!(
        "metrics: {free}\nlog: {{ format: json }}\nschemas: {}\n",
        schemas.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = serve(folder.path());
    command.arg("--config").arg(&config);
    let (server, line) = Server::start_logging(&mut command);
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["message"], "listening", "{line}");
    let url = format!("http://{}", event["address"].as_str().unwrap());
    assert!(get(&url, "/todos").contains("Database does not exist"));
    let metrics = get(&format!("http://{free}"), "/metrics");
    assert!(
        metrics.contains("chesterfield_undeclared_requests_total 1"),
        "{metrics}"
    );
    assert_eq!(server.signal("TERM").code(), Some(0));
}
