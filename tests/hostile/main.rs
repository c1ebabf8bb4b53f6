//! Hostile and broken input, byte by byte: each is refused clearly or answered as CouchDB answers it, and nothing crashes or grows.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "../support/binary.rs"]
mod binary;
mod cases;
mod slow;
mod wire;

use std::{env, fs, path::Path};

use binary::{Server, chesterfield};
use cases::{Answered, Case, cases};
use wire::{Peer, body, couch, statuses};

/// What all cases together may leave behind: buffers and what the allocator keeps.
const GROWTH: usize = 48 << 20;

/// A proxy as people run it, before the CouchDB of `COUCHDB_URL` or the embedded store.
pub fn server(folder: &Path, config: &str) -> Server {
    fs::write(folder.join("config.yaml"), config).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = chesterfield(folder);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--schemas"])
        .arg(root.join("schemas"));
    command.env("RUST_LOG", "off");
    if let Ok(url) = env::var("COUCHDB_URL") {
        command.env("CHESTERFIELD_UPSTREAM", url);
    }
    Server::start(&mut command)
}

/// Whom to speak to, with the account of `COUCHDB_URL`.
pub fn peer(server: &Server) -> Peer {
    match couch() {
        Some(couch) => couch.instead(&server.url),
        None => Peer::at(&server.url),
    }
}

/// A database of this run alone.
pub fn database(peer: &Peer, name: &str) -> String {
    let db = format!("hostile-{name}-{}", std::process::id());
    assert_eq!(
        statuses(&peer.ask(&filled(
            b"PUT /{db} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{auth}\r\n",
            peer,
            &db
        ))),
        [201]
    );
    db
}

/// Takes it away again.
pub fn delete(peer: &Peer, db: &str) {
    peer.ask(&filled(
        b"DELETE /{db} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{auth}\r\n",
        peer,
        db,
    ));
}

/// The request for this server.
fn filled(request: &[u8], peer: &Peer, db: &str) -> Vec<u8> {
    let mut filled = Vec::new();
    let mut rest = request;
    while let Some(at) = memchr::memchr(b'{', rest) {
        filled.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let (text, length) = if rest.starts_with(b"{db}") {
            (db, 4)
        } else if rest.starts_with(b"{auth}") {
            (peer.authorization(), 6)
        } else {
            ("{", 1)
        };
        filled.extend_from_slice(text.as_bytes());
        rest = &rest[length..];
    }
    filled.extend_from_slice(rest);
    filled
}

fn resident(server: &Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// What is wrong with the answer to a case, if anything is.
fn fault(case: &Case, proxy: (&Peer, &str), couch: Option<(&Peer, &str)>) -> Option<String> {
    let answer = proxy.0.ask(&filled(&case.request, proxy.0, proxy.1));
    let (codes, told) = (statuses(&answer), body(&answer));
    let is_told = || {
        let error: serde_json::Value = serde_json::from_str(&told).unwrap_or_default();
        error["error"].is_string() && error["reason"].is_string()
    };
    let is_right = match (case.answered, couch) {
        (Answered::By(status), _) => codes == [status] && is_told(),
        (Answered::Bare(status), _) => codes == [status],
        (Answered::AsCouch, Some((peer, db))) => {
            let own = peer.ask(&filled(&case.request, peer, db));
            // A status that CouchDB's own failure makes need not be the proxy's.
            statuses(&own).first() == codes.first() && codes.len() == 1
        }
        (Answered::AsCouch, None) => matches!(codes[..], [200..500]),
    };
    let short: String = told.chars().take(200).collect();
    (!is_right).then(|| format!("{}: {codes:?} instead of {:?}: {short}", case.name, case.answered))
}

#[test]
fn what_is_broken_is_refused_or_answered_as_couchdb_answers_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(folder.path(), "");
    let proxy = peer(&server);
    let db = database(&proxy, "cases");
    let couch = couch();
    let own = couch.as_ref().map(|couch| (couch, database(couch, "own")));
    let mut faults = Vec::new();
    let mut before = None;
    for case in cases() {
        let own = own.as_ref().map(|(couch, db)| (*couch, &**db));
        faults.extend(fault(&case, (&proxy, &db), own));
        // It still answers.
        let alive = proxy.ask(&filled(
            b"GET /{db} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{auth}\r\n",
            &proxy,
            &db,
        ));
        assert_eq!(statuses(&alive), [200], "after {}", case.name);
        before.get_or_insert_with(|| resident(&server));
    }
    let growth = resident(&server).saturating_sub(before.unwrap());
    if let Some((couch, db)) = &own {
        delete(couch, db);
        // The embedded store shares the process, and keeps what it was given.
        assert!(growth < GROWTH, "it has grown by {growth} bytes");
    }
    delete(&proxy, &db);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
