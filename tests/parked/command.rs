//! `chesterfield retry`, and what `serve` counts.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
};

use crate::lot::{copy, mended, scripts};
use binary::{Server, chesterfield};

#[path = "../support/binary.rs"]
mod binary;

/// A proxy's database of persons on a server, that is deleted in the end.
struct Persons {
    url: String,
}

fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl").arg("-sS").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

impl Drop for Persons {
    fn drop(&mut self) {
        curl(&["-X", "DELETE", &self.url]);
    }
}

/// Answers the exit code, and what was printed.
fn retry(folder: &Path, upstream: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = chesterfield(folder);
    command
        .arg("retry")
        .args(arguments)
        .env("CHESTERFIELD_UPSTREAM", upstream);
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 1 | 64)), "{printed}{complaints}");
    (code, printed)
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: todo\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_is_mended_is_carried_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    // Stands for a CouchDB where there is none: it speaks the same HTTP.
    let couch = std::env::var("COUCHDB_URL").err().map(|_| {
        std::fs::write(folder.path().join("couch.yaml"), "databases: []\n").unwrap();
        copy(&scripts(), &folder.path().join("schemas"));
        let mut couch = chesterfield(folder.path());
        let options = [
            "serve",
            "--config",
            "couch.yaml",
            "--listen",
            "127.0.0.1:0",
            "--data",
            "couch",
        ];
        Server::start(couch.args(options))
    });
    let upstream = couch
        .as_ref()
        .map_or_else(|| std::env::var("COUCHDB_URL").unwrap(), |couch| couch.url.clone());
    let db = format!("chesterfield-retry-{}", std::process::id());
    let persons = Persons {
        url: format!("{}/{db}", upstream.trim_end_matches('/')),
    };
    curl(&["-X", "PUT", &persons.url]);

    copy(&scripts(), &folder.path().join("schemas"));
    let metrics = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let config = format!("databases: [\"{db}\"]\nmetrics: {metrics}\nparked: {{ first: 1h }}\nfollower: off\n");
    std::fs::write(folder.path().join("config.yaml"), config).unwrap();
    let mut serve = chesterfield(folder.path());
    serve
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("CHESTERFIELD_UPSTREAM", &upstream);
    let proxy = Server::start(&mut serve);
    let credentials = upstream
        .split_once('@')
        .map(|(before, _)| before.trim_start_matches("http://"));
    let mut put = vec!["-X", "PUT"];
    put.extend(credentials.iter().flat_map(|user| ["-u", *user]));
    let url = format!("{}/{db}/person:k:v:1", proxy.url);
    put.extend([url.as_str(), "-d", r#"{"schema":"person","version":1,"name":"Ada"}"#]);
    assert!(curl(&put).contains(r#""ok":true"#));
    let counted = get(&metrics, "/metrics");
    assert!(
        counted.contains(r#"chesterfield_parked_total{why="script"} 1"#),
        "{counted}"
    );
    assert_eq!(proxy.signal("TERM").code(), Some(0));

    let name = upstream.replace(&format!("{}@", credentials.unwrap_or("-")), "");
    let name = name.trim_end_matches('/');
    let (code, printed) = retry(folder.path(), &upstream, &[&db]);
    let stuck = printed.lines().nth(1).unwrap_or_default();
    let expected = format!("{db}: person:k:v:2: still parked (script): lenses/names.js:5:");
    assert!(
        stuck.starts_with(&expected) && stuck.ends_with("is only one name"),
        "{printed}"
    );
    assert!(
        printed.ends_with("\n0 carried, 0 no longer needed, 1 still parked, 0 not tried\n"),
        "{printed}"
    );
    assert_eq!(code, Some(1));

    copy(mended().path(), &folder.path().join("schemas"));
    let (code, printed) = retry(folder.path(), &upstream, &[&db]);
    let expected =
        format!("{name}\n{db}: person:k:v:2: carried\n1 carried, 0 no longer needed, 0 still parked, 0 not tried\n");
    assert_eq!((code, printed), (Some(0), expected));
    assert!(curl(&[&format!("{}/person:k:v:2", persons.url)]).contains(r#""last":"Ada""#));
    let (code, printed) = retry(folder.path(), &upstream, &[&db]);
    assert_eq!((code, printed.lines().count()), (Some(0), 2), "{printed}");

    for wrong in [&[][..], &["--all", &db]] {
        assert_eq!(retry(folder.path(), &upstream, wrong), (Some(64), String::new()));
    }
}
