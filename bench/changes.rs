//! The two ways to filter `_changes`, compared: by CouchDB with a selector, or by dropping rows. Run it by
//! `COUCHDB_URL=… cargo bench --bench changes`.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails may panic")]
#![allow(dead_code, reason = "what is shared with the other benchmark")]

mod client;
mod compare;
mod process;
mod todos;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chesterfield::{
    config::{Config, Given, Overrides},
    couch::feed::{Framing, Sieve},
};
use client::{Connection, Target};
use compare::{Plan, Side, compare};
use process::Process;
use serde_json::Value;
use todos::{Todo, bulk};

/// Half of these are hidden from version 3: those of versions 1 and 2.
const DOCUMENTS: usize = 60_000;

type Act<'a> = &'a (dyn Fn(&mut Connection) + Sync);

/// A page as PouchDB asks for it.
const PAGE: &str = "style=all_docs&seq_interval=100&limit=100";

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` starts benchmarks too, and none is a test.
        return say("run it by `cargo bench --bench changes`");
    }
    sifting();
    let Some(url) = std::env::var("COUCHDB_URL").ok().filter(|url| !url.is_empty()) else {
        return say("the rest is skipped: the embedded store is no measure, and COUCHDB_URL names no CouchDB");
    };
    let folder = tempfile::tempdir().unwrap();
    let direct = Target::parse(&url);
    let proxy = |changes: &str| {
        // While the others have their turns, a connection is idle.
        let lines = format!("databases: [\"*\"]\nchanges: {changes}\ntimeouts:\n  head: 5m\n");
        Process::configured(folder.path(), changes, &url, &lines)
    };
    let (selector, rows) = (proxy("selector"), proxy("rows"));
    for (size, name) in [(0, "small"), (4096, "4 KB")] {
        let database = fill(&direct, size);
        say(&format!("\n## {DOCUMENTS} documents, {name}"));
        let plan = Plan {
            rounds: 7,
            turn: Duration::from_millis(500),
            patience: Duration::from_secs(60),
            database: listening(direct.address.port()),
        };
        let whole = |connection: &mut Connection| {
            connection.ask("GET", &format!("/{database}/_changes"), "");
        };
        let since = Mutex::new(String::from("0"));
        let page = |connection: &mut Connection| {
            let mut since = since.lock().unwrap();
            let answer = connection.ask("GET", &format!("/{database}/_changes?{PAGE}&since={since}"), "");
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            *since = match answer["pending"].as_u64() {
                Some(0) => "0".to_owned(),
                _ => answer["last_seq"].as_str().unwrap().to_owned(),
            };
        };
        let now = format!("/{database}/_changes?since=now");
        let idle = |connection: &mut Connection| drop(connection.ask("GET", &now, ""));
        let acts: [(&str, &str, Act<'_>); 3] = [
            ("The whole feed", "feeds", &whole),
            ("Pages of 100 rows, one after the other", "pages", &page),
            ("Nothing new", "answers", &idle),
        ];
        for (title, unit, act) in acts {
            let sides = [
                ("direct, everything", None),
                ("`selector`", Some(&selector)),
                ("`rows`", Some(&rows)),
            ];
            let side = |(name, process): (_, Option<_>)| {
                let address = process.map_or(direct.address, |process: &Process| process.address);
                let target = Target {
                    app: "todo-app@3.0.0",
                    ..direct.at(address)
                };
                Side {
                    name,
                    process,
                    connections: target.connections(1),
                    act,
                }
            };
            let mut sides = sides.map(side);
            compare(title, unit, &plan, &mut sides);
        }
        direct.connect().ask("DELETE", &format!("/{database}"), "");
    }
}

/// What it takes to drop every other row, without any transport.
fn sifting() {
    const LENGTH: usize = 100 << 20;
    let given = |path: &str| {
        Some(Given {
            value: Path::new(env!("CARGO_MANIFEST_DIR")).join(path),
            by: "bench".into(),
        })
    };
    let overrides = Overrides {
        config: given("config.yaml"),
        schemas: given("schemas"),
        ..Overrides::default()
    };
    let config = Config::load(&overrides).unwrap();
    let filter = config
        .schemas
        .apps
        .resolve("todo-app@3.0.0")
        .unwrap()
        .replicates
        .clone()
        .unwrap();
    let seq = "g1AAAACReJzLYWBgYMpgTmHgz8tPSTV0MDQy1zMAQsMcoARTIkOS_P___7MymBMZc4EC7MmJKSmJqWaYynEakaQAJJPsoaYwgE1JM0o1TjQ3T2HgLM1LSU3LzEtNwa3fAaQ_HqQ_kQG3qgSQqnoCqvJYgCRDA5ACqpxPWOUCiMr9hFUegKi8T1jlA4hKkDuzAC2yY0k";
    for (what, document) in [
        ("", String::new()),
        (
            " with documents of 4 KB",
            format!(",\"doc\":{{\"text\":\"{}\"}}", "x".repeat(4096)),
        ),
    ] {
        let mut feed = String::from("{\"results\":[");
        for n in 0.. {
            if feed.len() >= LENGTH {
                break;
            }
            let version = 2 + n % 2;
            let row = format!(
                "\n{{\"seq\":\"{n}-{seq}\",\"id\":\"todo-item:{n:016x}:v:{version}\",\
                 \"changes\":[{{\"rev\":\"1-967a00dff5e02add41819138abb3284d\"}}]{document}}},\r"
            );
            feed.push_str(&row);
        }
        let feed = Bytes::from(feed);
        for size in [1 << 16, 1500] {
            let taken = (0..5).map(|_| {
                let mut sieve = Sieve::new(Framing::Array, None);
                let begun = Instant::now();
                for from in (0..feed.len()).step_by(size) {
                    let piece = feed.slice(from..feed.len().min(from + size));
                    std::hint::black_box(sieve.sift(&piece, |id| filter.admits(id)).unwrap());
                }
                assert!(sieve.kept() > 0 && sieve.kept() < sieve.seen());
                begun.elapsed()
            });
            let best = taken.min().unwrap();
            say(&format!(
                "100 MB of rows{what}, in pieces of {size} bytes: {} ms",
                best.as_millis()
            ));
        }
    }
}

/// A database with one shard, so that all sides are answered in the same order.
fn fill(direct: &Target, size: usize) -> String {
    let name = format!("chesterfield-bench-changes-{size}-{}", std::process::id());
    let mut connection = direct.connect();
    connection.ask("PUT", &format!("/{name}?q=1"), "");
    let padding = "x".repeat(size);
    for _ in 0..DOCUMENTS / 2000 {
        let todos = Todo::many(500);
        let documents = todos.iter().flat_map(|todo| {
            let others = todo.others().into_iter();
            std::iter::once(todo.first()).chain(others).map(|(_, mut document)| {
                if size > 0 {
                    document["note"] = padding.clone().into();
                }
                document
            })
        });
        connection.ask("POST", &format!("/{name}/_bulk_docs"), &bulk(true, documents));
    }
    name
}

/// The process that listens on a port of this machine; none if it belongs to somebody else.
fn listening(port: u16) -> Option<u32> {
    let sockets = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let sockets = sockets.concat();
    let socket = sockets.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_listening = fields.get(3) == Some(&"0A");
        let local = fields.get(1)?.rsplit(':').next()?;
        (is_listening && u16::from_str_radix(local, 16) == Ok(port)).then(|| format!("socket:[{}]", fields[9]))
    })?;
    let processes = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes.into_iter().find(|pid: &u32| {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        let mut targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        targets.any(|target| target.as_os_str() == socket.as_str())
    })
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").unwrap();
}
