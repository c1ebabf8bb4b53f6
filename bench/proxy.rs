//! What the proxy costs: the same work done directly and through it, in turns. Run it by `cargo bench --bench proxy`.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails may panic")]

mod client;
mod compare;
mod process;
mod stand_in;
mod todos;

use std::{
    fs,
    io::{self, Write},
    thread::available_parallelism,
    time::Duration,
};

use client::{Connection, Target};
use compare::{Plan, Side, compare};
use process::Process;
use todos::{Todo, bulk};

/// Requests at a time, where reading is measured.
const CONNECTIONS: usize = 16;

/// The proxies in front of the database.
struct Through<'a> {
    before: Option<(&'a Process, Target)>,
    now: (&'a Process, Target),
}

/// A database of this run alone; deleted when dropped.
struct Database {
    target: Target,
    name: String,
}

impl Database {
    fn new(target: &Target) -> Self {
        let name = format!("chesterfield-bench-{}", std::process::id());
        target.connect().ask("PUT", &format!("/{name}"), "");
        Self {
            target: target.clone(),
            name,
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("/{}/{rest}", self.name)
    }

    fn count(&self) -> usize {
        let answer = self.target.connect().ask("GET", &format!("/{}", self.name), "");
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        answer["doc_count"].as_u64().unwrap() as usize
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.target.connect().ask("DELETE", &format!("/{}", self.name), "");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .first()
        .is_some_and(|role| stand_in::play(role, arguments.get(1).map(String::as_str)))
    {
        return;
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` starts benchmarks too, and none is a test.
        return say("run it by `cargo bench --bench proxy`");
    }
    let folder = tempfile::tempdir().unwrap();
    let cores = available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown").to_owned();
    say(&format!("{cores} cores; load of the last minute: {load}"));

    bare_cost(folder.path());

    let couchdb = std::env::var("COUCHDB_URL").ok().filter(|url| !url.is_empty());
    // Without a CouchDB there is still a store in a process of its own, and so the same way to it.
    let embedded = couchdb
        .is_none()
        .then(|| Process::chesterfield(folder.path(), "store", "embedded", "[]"));
    let (url, name) = match (&embedded, &couchdb) {
        (Some(store), _) => (format!("http://{}", store.address), "the embedded store"),
        (None, url) => (url.clone().unwrap_or_default(), "CouchDB"),
    };
    let direct = Target::parse(&url);
    let proxy = Process::chesterfield(folder.path(), "proxy", &url, r#"["*"]"#);
    let before = Process::before(folder.path(), "before", &url);
    let through = Through {
        before: before.as_ref().map(|before| (before, direct.at(before.address))),
        now: (&proxy, direct.at(proxy.address)),
    };
    let database = Database::new(&direct);
    say(&format!("\n## In front of {name}"));
    reading(&database, &direct, &through);
    for connections in [1, 8] {
        putting(&database, &direct, &through, connections);
    }
    bulk_writing(&database, &direct, &through);
}

/// What a proxy costs when the upstream costs next to nothing.
fn bare_cost(folder: &std::path::Path) {
    let fixed = Process::stand_in("fixed", None);
    let relay = Process::stand_in("relay", Some(fixed.address));
    let hyper = Process::stand_in("hyper", Some(fixed.address));
    let nginx = Process::nginx(folder, fixed.address);
    let upstream = format!("http://{}", fixed.address);
    let proxy = Process::chesterfield(folder, "bare", &upstream, r#"["*"]"#);
    let target = Target::parse(&upstream);
    let before = Process::before(folder, "bare-before", &upstream);
    let get: Act<'_> = &|connection| drop(connection.ask("GET", "/bench/a", ""));
    let mut sides = Vec::new();
    for (name, process) in [
        ("direct", None),
        ("TCP relay", Some(&relay)),
        ("bare hyper", Some(&hyper)),
        ("nginx, one worker", nginx.as_ref()),
        ("Chesterfield of `BEFORE`", before.as_ref()),
        ("Chesterfield", Some(&proxy)),
    ] {
        let address = match (process, name) {
            (Some(process), _) => process.address,
            (None, "direct") => fixed.address,
            (None, _) => continue,
        };
        sides.push(Side {
            name,
            process,
            connections: target.at(address).connections(CONNECTIONS),
            act: get,
        });
    }
    if nginx.is_none() {
        say("nginx: skipped, there is none on the PATH");
    }
    say("\n## In front of an upstream that always gives the same answer");
    let plan = Plan {
        rounds: 7,
        turn: Duration::from_millis(300),
        patience: Duration::from_secs(15),
        database: None,
    };
    compare("GET of 1 KB, 16 connections", "GETs", &plan, &mut sides);
}

type Act<'a> = &'a (dyn Fn(&mut Connection) + Sync);

/// The ways that lead directly to the database, then those through a proxy, which all `act` alike.
fn ways<'a>(
    connections: usize,
    direct: (&Target, &[(&'static str, Act<'a>)]),
    through: (&Through<'a>, &'static str, Act<'a>),
) -> Vec<Side<'a>> {
    let side = |name, process, target: &Target, act| Side {
        name,
        process,
        connections: target.connections(connections),
        act,
    };
    let (target, acts) = direct;
    let mut sides: Vec<Side<'a>> = acts.iter().map(|(name, act)| side(name, None, target, *act)).collect();
    let (through, name, act) = through;
    if let Some((process, target)) = &through.before {
        sides.push(side(
            "the same through the proxy of `BEFORE`",
            Some(*process),
            target,
            act,
        ));
    }
    sides.push(side(name, Some(through.now.0), &through.now.1, act));
    sides
}

fn reading(database: &Database, direct: &Target, through: &Through<'_>) {
    let (id, mut document) = Todo::new().first();
    let path = database.path(&id);
    document["note"] = "x".repeat(stand_in::DOCUMENT - document.to_string().len()).into();
    direct.connect().ask("PUT", &path, &document.to_string());
    let get: Act<'_> = &|connection| drop(connection.ask("GET", &path, ""));
    let plan = Plan {
        rounds: 7,
        turn: Duration::from_millis(500),
        patience: Duration::from_secs(15),
        database: None,
    };
    let mut sides = ways(
        CONNECTIONS,
        (direct, &[("direct", get)]),
        (through, "through the proxy", get),
    );
    compare("GET of 1 KB, 16 connections", "GETs", &plan, &mut sides);
}

fn putting(database: &Database, direct: &Target, through: &Through<'_>, connections: usize) {
    let put = |connection: &mut Connection, (id, document): (String, serde_json::Value)| {
        connection.ask("PUT", &database.path(&id), &document.to_string());
    };
    let one: Act<'_> = &|connection| put(connection, Todo::new().first());
    let in_two: Act<'_> = &|connection| {
        let todo = Todo::new();
        put(connection, todo.first());
        connection.ask("POST", &database.path("_bulk_docs"), &bulk(false, todo.replicated()));
    };
    let in_four: Act<'_> = &|connection| {
        let todo = Todo::new();
        put(connection, todo.first());
        todo.others().into_iter().for_each(|other| put(connection, other));
    };
    let plan = Plan {
        rounds: 7,
        turn: Duration::from_millis(350),
        patience: Duration::from_secs(12),
        database: None,
    };
    let mut sides = ways(
        connections,
        (
            direct,
            &[
                ("that document alone, direct", one),
                ("all 4 direct: PUT, then `_bulk_docs` of 3", in_two),
                ("all 4 direct: 4 PUTs", in_four),
            ],
        ),
        (through, "through the proxy, which writes all 4", one),
    );
    let before = database.count();
    let plural = if connections == 1 { "" } else { "s" };
    let title = format!("PUT of a todo, {connections} connection{plural}");
    let done = compare(&title, "todos", &plan, &mut sides);
    let written = done[0] + 4 * done[1..].iter().sum::<usize>();
    assert_eq!(database.count() - before, written, "documents are missing");
}

fn bulk_writing(database: &Database, direct: &Target, through: &Through<'_>) {
    const MANY: usize = 500;
    let post =
        |connection: &mut Connection, body: &str| drop(connection.ask("POST", &database.path("_bulk_docs"), body));
    let firsts = |todos: &[Todo]| bulk(true, todos.iter().map(|todo| todo.first().1));
    let some: Act<'_> = &|connection| post(connection, &firsts(&Todo::many(MANY)));
    let at_once: Act<'_> = &|connection| {
        let todos = Todo::many(MANY);
        let others = todos.iter().flat_map(Todo::others).map(|(_, other)| other);
        post(
            connection,
            &bulk(true, todos.iter().map(|todo| todo.first().1).chain(others)),
        );
    };
    let in_two: Act<'_> = &|connection| {
        let todos = Todo::many(MANY);
        post(connection, &firsts(&todos));
        post(connection, &bulk(false, todos.iter().flat_map(Todo::replicated)));
    };
    let plan = Plan {
        rounds: 9,
        turn: Duration::from_millis(300),
        patience: Duration::from_secs(18),
        database: None,
    };
    let mut sides = ways(
        1,
        (
            direct,
            &[
                ("those 500 alone, direct", some),
                ("all 2,000 direct, in one request", at_once),
                ("all 2,000 direct, 500 and then 1,500", in_two),
            ],
        ),
        (through, "500 through the proxy, which writes all 2,000", some),
    );
    let before = database.count();
    let done = compare("`_bulk_docs` of 500 todos, 1 connection", "requests", &plan, &mut sides);
    let written = MANY * (done[0] + 4 * done[1..].iter().sum::<usize>());
    assert_eq!(database.count() - before, written, "documents are missing");
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").unwrap();
}
