//! CouchDB's own replicator reads through the proxy: what it was recorded to send, and, where `COUCHDB_URL` names one, itself.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[allow(dead_code, reason = "the replay uses the rest")]
#[path = "transcripts/record.rs"]
mod record;
#[path = "support/stage.rs"]
mod stage;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use chesterfield::upstream::{Body, UpstreamService};
use http::{HeaderValue, Request, StatusCode};
use record::Exchange;
use serde_json::{Value, json};
use stage::{Answered, Asking, Stage};
use tower::{Service, service_fn};

/// Documents of one todo, beside the plain ones.
const ALL: [&str; 5] = [
    "plain",
    "todo-item-status:a:v:1",
    "todo-item:a:v:1",
    "todo-item:a:v:2",
    "todo-item:a:v:3",
];
const NEWEST: [&str; 3] = [ALL[0], ALL[1], ALL[4]];

/// The recorded session without a selector, by what it asks the source (replicator_wire).
const INFOS: [usize; 3] = [44, 45, 51];
const LOGS: [usize; 4] = [46, 47, 48, 49];
const CHANGES: usize = 50;
const BULK_GET: usize = 52;
const COMMIT: usize = 58;
const CHECKPOINT: usize = 59;

/// The replicator as it was recorded, with one replication id whatever the version is, and its target.
struct Replicator {
    source: Asking,
    recorded: Vec<Exchange>,
    sessions: usize,
    held: BTreeSet<(String, String)>,
    log: Value,
}

/// What a session did.
#[derive(Debug)]
struct Session {
    since: Value,
    last_seq: Value,
    fetched: Vec<String>,
}

impl Replicator {
    fn from(source: Asking) -> Self {
        Self {
            source,
            recorded: record::read("replicator_wire"),
            sessions: 0,
            held: BTreeSet::new(),
            log: json!({}),
        }
    }

    /// Sends a recorded request, with some of its words replaced.
    async fn send(&self, n: usize, version: &str, words: &[(&str, &str)]) -> Answered {
        let request = &self.recorded[n - 1].request;
        let replaced = |text: &str| {
            words
                .iter()
                .fold(text.to_owned(), |text, (word, by)| text.replace(word, by))
        };
        let path = request.path.strip_prefix("/tr_rws/").unwrap();
        let declared = format!("todo-app@{version}");
        let headers = request.headers.iter().filter(|(name, _)| *name != "Cookie");
        let mut headers: Vec<(&str, &str)> = headers.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        headers.push(("app-version", &declared));
        let body = replaced(request.body.as_deref().unwrap_or_default());
        self.source
            .ask_with(&request.method, &replaced(path), &headers, body)
            .await
    }

    fn status(&self, n: usize) -> u16 {
        self.recorded[n - 1].response.status
    }

    /// One session, as an app of this version.
    async fn run(&mut self, version: &str) -> Session {
        for n in INFOS {
            assert_eq!(self.send(n, version, &[]).await.status, self.status(n));
        }
        // The log under the id of today, then under those of older releases (`find_replication_logs`).
        let mut log = json!({});
        for n in LOGS {
            let answer = self.send(n, version, &[]).await;
            if answer.status == StatusCode::OK {
                log = answer.body;
                break;
            }
            assert_eq!(answer.status, self.status(n));
        }
        let since = self.common(&log);
        let place = match &since {
            Value::String(seq) => seq.clone(),
            number => number.to_string(),
        };
        let feed = self
            .send(CHANGES, version, &[("since=0", &format!("since={place}"))])
            .await;
        assert_eq!(feed.status, self.status(CHANGES), "{feed:?}");
        let mut fetched = Vec::new();
        for row in feed.body["results"].as_array().unwrap() {
            let id = row["id"].as_str().unwrap();
            for change in row["changes"].as_array().unwrap() {
                let rev = change["rev"].as_str().unwrap();
                if self.held.insert((id.to_owned(), rev.to_owned())) {
                    let words = [("1-347a1a1493905a72ae3d8f8a465cc37a", rev), ("todo-item:1:v:1", id)];
                    let answer = self.send(BULK_GET, version, &words).await;
                    assert_eq!(answer.body["results"][0]["docs"][0]["ok"]["_rev"], rev);
                    fetched.push(id.to_owned());
                }
            }
        }
        fetched.sort_unstable();
        let last_seq = feed.body["last_seq"].clone();
        if since != last_seq {
            self.checkpoint(version, &log, &last_seq).await;
        }
        Session {
            since,
            last_seq,
            fetched,
        }
    }

    /// Where the logs of source and target agree (`compare_replication_logs`); histories have one entry here.
    fn common(&self, log: &Value) -> Value {
        match (&log["session_id"], &self.log["session_id"]) {
            (Value::String(source), Value::String(target)) if source == target => log["source_last_seq"].clone(),
            _ => json!(0),
        }
    }

    /// Both logs are written, and the source's is under the id that was asked for.
    async fn checkpoint(&mut self, version: &str, log: &Value, last_seq: &Value) {
        self.sessions += 1;
        let session = format!("{:032x}", self.sessions);
        let recorded = self.recorded[CHECKPOINT - 1].request.body.clone().unwrap();
        let mut posted: Value = serde_json::from_str(&recorded).unwrap();
        let id = posted["_id"].clone();
        let words = [
            (posted["session_id"].as_str().unwrap(), session.as_str()),
            (posted["source_last_seq"].as_str().unwrap(), last_seq.as_str().unwrap()),
        ];
        assert_eq!(self.send(COMMIT, version, &[]).await.status, self.status(COMMIT));
        let answer = self.send(CHECKPOINT, version, &words).await;
        assert_eq!(answer.status, self.status(CHECKPOINT), "{answer:?}");
        assert_eq!(answer.body["id"], id);
        let location = answer.headers["location"].to_str().unwrap();
        assert!(
            location.ends_with(&id.as_str().unwrap().replace('/', "%2F")),
            "{location}"
        );
        if log.as_object().is_some_and(|log| !log.is_empty()) {
            assert_eq!(log["_id"], id);
        }
        posted["session_id"] = session.into();
        self.log = posted;
    }
}

async fn write(stage: &Stage, ids: &[&str]) {
    let docs: Vec<Value> = ids.iter().map(|id| json!({"_id": id, "n": 1})).collect();
    let answer = stage
        .direct()
        .ask("POST", "_bulk_docs", json!({ "docs": docs }).to_string())
        .await;
    assert_eq!(answer.status, StatusCode::CREATED);
}

#[tokio::test]
async fn each_filter_has_its_own_log() {
    if !record::are_there() {
        return;
    }
    let mut stage = Stage::new().await;
    write(&stage, &ALL).await;
    let mut replicator = Replicator::from(stage.proxy().await);

    let newest = replicator.run("3.0.0").await;
    assert_eq!(
        (newest.since, newest.fetched),
        (json!(0), NEWEST.map(String::from).to_vec())
    );
    let idle = replicator.run("3.0.0").await;
    assert_eq!(idle.since, newest.last_seq);

    // Back to version 1: all that version 3 was not sent.
    let older = replicator.run("1.2.0").await;
    assert_eq!(
        (older.since, older.fetched),
        (json!(0), vec![ALL[2].to_owned(), ALL[3].to_owned()])
    );
    assert_eq!(replicator.run("1.2.0").await.since, older.last_seq);

    // And an update: what is missing, and nothing else.
    write(&stage, &["todo-item:b:v:1", "todo-item:b:v:2", "todo-item:b:v:3"]).await;
    let updated = replicator.run("3.0.0").await;
    assert_eq!(updated.fetched, ["todo-item:b:v:3"]);
    let back = replicator.run("1.2.0").await;
    assert_eq!(back.fetched, ["todo-item:b:v:1", "todo-item:b:v:2"]);
    stage.end().await;
}

#[tokio::test]
async fn a_patch_goes_on_where_it_was() {
    if !record::are_there() {
        return;
    }
    let mut stage = Stage::new().await;
    write(&stage, &ALL).await;
    let mut replicator = Replicator::from(stage.proxy().await);
    let before = replicator.run("2.0.0").await;
    write(&stage, &["todo-item:b:v:1", "todo-item:b:v:2"]).await;
    let after = replicator.run("2.0.1").await;
    assert_eq!(
        (after.since, after.fetched),
        (before.last_seq, vec!["todo-item:b:v:2".to_owned()])
    );
    stage.end().await;
}

#[tokio::test]
async fn what_is_stored_is_a_checkpoint() {
    if !record::are_there() {
        return;
    }
    let mut stage = Stage::new().await;
    write(&stage, &ALL).await;
    let mut replicator = Replicator::from(stage.proxy().await);
    replicator.run("1.2.0").await;
    let plain = replicator.log.clone();
    let session = replicator.run("2.0.0").await;
    let id = plain["_id"].as_str().unwrap();
    // Whoever sees everything has it under the id of the replicator.
    let stored = stage.direct().ask("GET", id, "").await.body;
    assert_eq!(stored["session_id"], plain["session_id"]);

    let name = id.strip_prefix("_local/").unwrap();
    let tag = stage.tag("todo-app@2.0.0");
    let mut stored = stage
        .direct()
        .ask("GET", &format!("_local/filter-{tag}-{name}"), "")
        .await
        .body;
    assert_eq!(stored["source_last_seq"], session.last_seq);
    for member in ["_id", "_rev"] {
        assert!(stored.as_object_mut().unwrap().remove(member).is_some());
    }
    let mut members: Vec<&String> = stored.as_object().unwrap().keys().collect();
    members.sort_unstable();
    assert_eq!(
        members,
        ["history", "replication_id_version", "session_id", "source_last_seq"]
    );
    stage.end().await;
}

/// CouchDB itself replicates, from a proxy to a database beside the source.
struct CouchDb {
    stage: Stage,
    proxy: Asking,
    /// Declares a version for whoever asks, and which.
    front: Asking,
    version: Arc<Mutex<&'static str>>,
    target: String,
}

impl CouchDb {
    /// None without `COUCHDB_URL`: the embedded store has no replicator.
    async fn new() -> Option<Self> {
        if std::env::var("COUCHDB_URL").is_err() {
            #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
            {
                eprintln!("skipped: COUCHDB_URL names no CouchDB");
            }
            return None;
        }
        let mut stage = Stage::new().await;
        write(&stage, &ALL).await;
        let proxy = stage.proxy().await;
        let version = Arc::new(Mutex::new(""));
        let declared = version.clone();
        let declaring = move |service: UpstreamService| {
            UpstreamService::new(service_fn(move |mut request: Request<Body>| {
                let version = HeaderValue::from_static(*declared.lock().unwrap());
                request.headers_mut().insert("app-version", version);
                service.clone().call(request)
            }))
        };
        let front = stage.before(&proxy, declaring).await;
        let target = format!("{}-target", stage.db);
        Some(Self {
            stage,
            proxy,
            front,
            version,
            target,
        })
    }

    /// Replicates once, as a job that says its version itself.
    async fn replicate_as(&self, version: &'static str) -> (Value, Vec<String>) {
        self.replicate(&self.proxy, json!({ "App-Version": version })).await
    }

    /// Replicates once, as a job that is always the same: its id holds its URL and its headers.
    async fn replicate_before(&self, version: &'static str) -> (Value, Vec<String>) {
        *self.version.lock().unwrap() = version;
        self.replicate(&self.front, json!({})).await
    }

    /// Answers what CouchDB says of it, and all that the target holds.
    async fn replicate(&self, source: &Asking, mut headers: Value) -> (Value, Vec<String>) {
        let server = std::env::var("COUCHDB_URL").unwrap();
        let credentials = self.stage.upstream.account.clone().unwrap();
        headers["Authorization"] = credentials.to_str().unwrap().into();
        let job = json!({
            "source": {"url": source.url(), "headers": headers},
            "target": format!("{}/{}", server.trim_end_matches('/'), self.target),
            "create_target": true,
        });
        let direct = self.stage.direct();
        let answer = direct.ask_server("POST", "_replicate", job.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let held = direct
            .ask_server("GET", &format!("{}/_all_docs", self.target), "")
            .await
            .body;
        let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
        (answer.body, held["rows"].as_array().unwrap().iter().map(id).collect())
    }

    async fn gone(self) {
        self.stage.direct().ask_server("DELETE", &self.target, "").await;
        self.stage.end().await;
    }
}

#[tokio::test]
async fn couchdb_replicates_what_each_version_is_to_see() {
    let Some(couch) = CouchDb::new().await else { return };
    let (_, held) = couch.replicate_as("todo-app@3.0.0").await;
    assert_eq!(held, NEWEST);
    let (again, _) = couch.replicate_as("todo-app@3.0.0").await;
    assert_eq!(again["no_changes"], true);

    let (older, held) = couch.replicate_as("todo-app@1.2.0").await;
    assert_eq!(held, ALL);
    assert_eq!(older["history"][0]["docs_written"], 2, "{older}");
    couch.gone().await;
}

#[tokio::test]
async fn couchdb_notices_when_its_url_shows_another_version() {
    let Some(couch) = CouchDb::new().await else { return };
    let (newest, held) = couch.replicate_before("todo-app@3.0.0").await;
    assert_eq!(held, NEWEST);
    let (older, held) = couch.replicate_before("todo-app@1.2.0").await;
    assert_eq!(held, ALL);
    assert_eq!(older["history"][0]["start_last_seq"], 0);
    assert_eq!(older["history"][0]["docs_written"], 2, "{older}");
    assert_ne!(older["session_id"], newest["session_id"]);

    write(&couch.stage, &["todo-item:b:v:1", "todo-item:b:v:3"]).await;
    let (updated, held) = couch.replicate_before("todo-app@3.0.0").await;
    assert!(held.contains(&"todo-item:b:v:3".into()) && !held.contains(&"todo-item:b:v:1".into()));
    assert_eq!(updated["history"][0]["docs_written"], 1, "{updated}");
    couch.gone().await;
}

#[tokio::test]
async fn couchdb_goes_on_where_it_was_after_a_patch() {
    let Some(couch) = CouchDb::new().await else { return };
    let (before, _) = couch.replicate_before("todo-app@2.0.0").await;
    let (idle, _) = couch.replicate_before("todo-app@2.0.1").await;
    assert_eq!(idle["no_changes"], true, "{idle}");
    write(&couch.stage, &["todo-item:b:v:1", "todo-item:b:v:2"]).await;
    let (after, _) = couch.replicate_before("todo-app@2.7.0").await;
    assert_eq!(
        after["history"][0]["start_last_seq"], before["source_last_seq"],
        "{after}"
    );
    // Its figures go on as well.
    let checked = |answer: &Value| answer["history"][0]["missing_checked"].as_i64().unwrap();
    assert_eq!(checked(&after) - checked(&before), 1, "{after}");
    couch.gone().await;
}
