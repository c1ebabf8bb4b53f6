//! CouchDB's own replicator, with the proxy as its source and as its target: its requests as it sends them (transcripts,
//! replicator_wire; `couch_replicator_api_wrap`), and where `COUCHDB_URL` names a server, its jobs too.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/stage.rs"]
mod stage;

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use stage::{Answered, Asking, Stage};

const VERSION_3: (&str, &str) = ("app-version", "todo-app@3.0.0");
const AGENT: (&str, &str) = ("user-agent", "CouchDB-Replicator/3.5.2");
const CHECKPOINT: &str = "_local/c5d1fb3fd28a1105770bde024fbaed5f";

/// One end of a replication, and the headers that its job gives for it.
struct End<'a> {
    db: &'a Asking,
    headers: Vec<(&'a str, &'a str)>,
}

/// What the replicator found and wrote.
#[derive(Debug, Default, PartialEq, Eq)]
struct Session {
    /// Rows of the source's feed.
    rows: usize,
    /// Revisions written in batches.
    in_batches: usize,
    /// Revisions written alone, for they have attachments.
    alone: usize,
}

impl End<'_> {
    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answered {
        let mut all = vec![AGENT];
        all.extend(&self.headers);
        all.extend(headers);
        if !headers.iter().any(|(name, _)| *name == "accept") {
            all.push(("accept", "application/json"));
        }
        let answer = self.db.ask_with(method, path, &all, body).await;
        let is_expected = answer.status.is_success() || method == "GET" && path == CHECKPOINT;
        assert!(is_expected, "{method} {path}: {} {:?}", answer.status, answer.bytes);
        answer
    }
}

fn plain(db: &Asking) -> End<'_> {
    End { db, headers: vec![] }
}

/// One run of the replicator, in the order of its requests.
async fn replicate(source: &End<'_>, target: &End<'_>) -> Session {
    let mut session = Session::default();
    for end in [source, target] {
        end.ask("GET", "", &[], "").await;
        assert_eq!(end.ask("GET", CHECKPOINT, &[], "").await.status, StatusCode::NOT_FOUND);
    }
    let feed = "_changes?feed=normal&style=all_docs&since=0&timeout=10000";
    let feed = source.ask("GET", feed, &[], "").await.body;
    let rows = feed["results"].as_array().unwrap();
    session.rows = rows.len();
    let revs = |row: &Value| {
        row["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|change| change["rev"].clone())
            .collect()
    };
    let question: BTreeMap<&str, Vec<Value>> = rows
        .iter()
        .map(|row| (row["id"].as_str().unwrap(), revs(row)))
        .collect();
    let missing = target
        .ask("POST", "_revs_diff", &[], json!(question).to_string())
        .await
        .body;

    let mut asked = Vec::new();
    for (id, diff) in missing.as_object().unwrap() {
        let known = diff.get("possible_ancestors").cloned().unwrap_or(json!([]));
        for rev in diff["missing"].as_array().unwrap() {
            asked.push(json!({ "id": id, "rev": rev, "atts_since": known }));
        }
    }
    let question = json!({ "docs": asked, "revs": true, "latest": true, "attachments": false });
    let path = "_bulk_get?latest=true&revs=true&attachments=false";
    let found = source.ask("POST", path, &[], question.to_string()).await.body;
    let found = found["results"].as_array().unwrap();
    assert_eq!(found.len(), asked.len(), "it zips questions and answers");
    let mut batch = Vec::new();
    for (asked, found) in asked.iter().zip(found) {
        assert_eq!(asked["id"], found["id"]);
        let document = &found["docs"][0]["ok"];
        assert!(document.is_object(), "{found}");
        if document["_attachments"].is_object() {
            alone(source, target, asked).await;
            session.alone += 1;
        } else {
            batch.push(document.clone());
        }
    }
    if !batch.is_empty() {
        session.in_batches = batch.len();
        let body = json!({ "new_edits": false, "docs": batch }).to_string();
        let answer = target
            .ask("POST", "_bulk_docs", &[("x-couch-full-commit", "false")], body)
            .await;
        assert_eq!((answer.status, answer.body), (StatusCode::CREATED, json!([])));
    }
    let checkpoint = json!({ "_id": CHECKPOINT, "source_last_seq": feed["last_seq"], "replication_id_version": 4 });
    for end in [source, target] {
        let answer = end.ask("POST", "_ensure_full_commit", &[], "").await;
        assert_eq!(answer.status, StatusCode::CREATED);
        assert_eq!(answer.body["ok"], true);
        let headers = [("x-couch-full-commit", "false")];
        end.ask("PUT", CHECKPOINT, &headers, checkpoint.to_string()).await;
    }
    session
}

/// A revision with attachments: read in parts, and each part written as it is.
async fn alone(source: &End<'_>, target: &End<'_>, asked: &Value) {
    let id = utf8_percent_encode(asked["id"].as_str().unwrap(), NON_ALPHANUMERIC).to_string();
    let encode = |value: &Value| utf8_percent_encode(&value.to_string(), NON_ALPHANUMERIC).to_string();
    let mut query = format!(
        "{id}?revs=true&open_revs={}&latest=true",
        encode(&json!([asked["rev"]]))
    );
    if asked["atts_since"] != json!([]) {
        query.push_str(&format!("&atts_since={}", encode(&asked["atts_since"])));
    }
    let answer = source.ask("GET", &query, &[("accept", "multipart/mixed")], "").await;
    let content_type = answer.headers["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("multipart/mixed;"), "{content_type}");
    for (kind, body) in parts(content_type, &answer.bytes) {
        assert!(kind.starts_with("multipart/related;"), "{kind}");
        let path = format!("{id}?new_edits=false");
        let answer = target.ask("PUT", &path, &[("content-type", &kind)], body).await;
        assert_eq!((answer.status, &answer.body["ok"]), (StatusCode::CREATED, &json!(true)));
    }
}

/// The parts of a multipart body: content type and content.
fn parts(content_type: &str, body: &Bytes) -> Vec<(String, Bytes)> {
    let boundary = content_type.split_once("boundary=").unwrap().1.trim_matches('"');
    let delimiter = format!("--{boundary}");
    let find = |from: usize, needle: &[u8]| {
        let found = body[from..].windows(needle.len()).position(|window| window == needle);
        found.map(|at| from + at)
    };
    let mut at = find(0, delimiter.as_bytes()).unwrap() + delimiter.len();
    let mut found = Vec::new();
    while let Some(end) = find(at, format!("\r\n{delimiter}").as_bytes()) {
        let content = find(at, b"\r\n\r\n").unwrap() + 4;
        let head = std::str::from_utf8(&body[at..content]).unwrap();
        let kind = head.lines().find_map(|line| {
            line.to_ascii_lowercase()
                .starts_with("content-type:")
                .then(|| line[13..].trim())
        });
        found.push((kind.unwrap().to_owned(), body.slice(content..end)));
        at = end + 2 + delimiter.len();
    }
    found
}

/// Every leaf of every document, attachments and histories included.
async fn everything(db: &Asking) -> BTreeMap<String, Vec<Value>> {
    let feed = db.ask("GET", "_changes?style=all_docs", "").await.body;
    let mut all = BTreeMap::new();
    for row in feed["results"].as_array().unwrap() {
        let id = row["id"].as_str().unwrap();
        let path = format!(
            "{}?open_revs=all&revs=true&attachments=true",
            utf8_percent_encode(id, NON_ALPHANUMERIC)
        );
        let answer = db.ask_with("GET", &path, &[("accept", "application/json")], "").await;
        let mut leaves = answer.body.as_array().unwrap().clone();
        leaves.sort_by_key(|leaf| leaf["ok"]["_rev"].to_string());
        all.insert(id.to_owned(), leaves);
    }
    all
}

async fn winners(db: &Asking, ids: &[&str]) -> Vec<Value> {
    let mut all = Vec::new();
    for id in ids {
        let document = db.get(id).await;
        all.push(json!([document["title"], document["status"]]));
    }
    all
}

/// Text, which CouchDB stores compressed, above the 64 KB from which its replicator reads in pieces.
fn large() -> String {
    (0..30_000).map(|n| format!("{n} ")).collect()
}

/// A todo of version 1 with an attachment and a second revision, one in conflict with an attachment on one side, one deleted, one plain, and
/// a document that no schema knows.
async fn fill(db: &Asking) {
    let attachments = json!({
        "large.txt": {"content_type": "text/plain", "data": BASE64_STANDARD.encode(large())},
        "small.bin": {"content_type": "application/octet-stream", "data": "AAEC"},
    });
    let todo = |title: &str| json!({"schema": "todo-item", "version": 1, "title": title, "isDone": true});
    let mut first = todo("attached");
    first["_attachments"] = attachments.clone();
    let rev = db.put("todo-item:att:v:1", first).await;
    let stubs = json!({"large.txt": {"stub": true}, "small.bin": {"stub": true}});
    let mut second = todo("attached, edited");
    second["_rev"] = json!(rev);
    second["_attachments"] = stubs;
    db.put("todo-item:att:v:1", second).await;

    let branch = |hash: &str, title: &str| {
        let mut document = todo(title);
        document["_id"] = json!("todo-item:conf:v:1");
        document["_revisions"] = json!({"start": 2, "ids": [hash.repeat(32), "1".repeat(32)]});
        document
    };
    let mut loser = branch("a", "loser");
    loser["_attachments"] = attachments;
    let body = json!({"new_edits": false, "docs": [loser, branch("b", "winner")]});
    assert_eq!(
        db.ask("POST", "_bulk_docs", body.to_string()).await.status,
        StatusCode::CREATED
    );

    let rev = db.put("todo-item:gone:v:1", todo("gone")).await;
    assert!(
        db.ask("DELETE", &format!("todo-item:gone:v:1?rev={rev}"), "")
            .await
            .status
            .is_success()
    );
    db.put("todo-item:plain:v:1", todo("plain")).await;
    db.put("settings", json!({"color": "green"})).await;
}

/// What version 3 shows of it.
async fn assert_carried(db: &Asking) {
    let ids = [
        "todo-item:att:v:3",
        "todo-item-status:att:v:1",
        "todo-item:conf:v:3",
        "todo-item:plain:v:2",
        "todo-item-status:plain:v:1",
        "todo-item:gone:v:3",
    ];
    let shown = [
        json!(["attached, edited", null]),
        json!([null, "done"]),
        json!(["winner", null]),
        json!(["plain", null]),
        json!([null, "done"]),
        json!([null, null]),
    ];
    assert_eq!(winners(db, &ids).await, shown);
    assert_eq!(
        db.leaves("todo-item:conf:v:3").await.len(),
        2,
        "the conflict is one there too"
    );
}

#[tokio::test]
async fn what_is_pushed_arrives_as_it_is_and_in_every_version() {
    let (source, mut stage) = (Stage::new().await, Stage::new().await);
    let proxy = stage.proxy().await;
    fill(&source.direct()).await;
    let target = End {
        db: &proxy,
        headers: vec![VERSION_3],
    };
    let session = replicate(&plain(&source.direct()), &target).await;
    assert_eq!(
        session,
        Session {
            rows: 5,
            in_batches: 4,
            alone: 2
        }
    );
    let (sent, arrived) = (everything(&source.direct()).await, everything(&stage.direct()).await);
    for (id, leaves) in &sent {
        assert_eq!(leaves, &arrived[id], "{id}");
    }
    assert!(sent["todo-item:att:v:1"][0]["ok"]["_attachments"]["large.txt"]["data"].is_string());
    assert_carried(&stage.direct()).await;
    // A second edit of an attachment's document: the attachments stay where they are.
    let edit = json!({"_rev": source.direct().rev("todo-item:att:v:1").await, "title": "again", "isDone": false,
        "schema": "todo-item", "version": 1,
        "_attachments": {"large.txt": {"stub": true}, "new.txt": {"content_type": "text/plain", "data": "bmV3"}}});
    source.direct().put("todo-item:att:v:1", edit).await;
    let direct = source.direct();
    for end in [&plain(&direct), &target] {
        let checkpoint = end.ask("GET", CHECKPOINT, &[], "").await;
        let rev = checkpoint.body["_rev"].as_str().unwrap();
        end.ask("DELETE", &format!("{CHECKPOINT}?rev={rev}"), &[], "").await;
    }
    let session = replicate(&plain(&source.direct()), &target).await;
    assert_eq!(
        session,
        Session {
            rows: 5,
            in_batches: 0,
            alone: 1
        }
    );
    assert_eq!(stage.direct().get("todo-item:att:v:3").await["title"], "again");
    let attachments =
        |documents: BTreeMap<String, Vec<Value>>| documents["todo-item:att:v:1"][0]["ok"]["_attachments"].clone();
    assert_eq!(
        attachments(everything(&stage.direct()).await),
        attachments(everything(&source.direct()).await)
    );
    stage.end().await;
    source.end().await;
}

#[tokio::test]
async fn what_is_pulled_is_what_the_version_may_see() {
    let (mut stage, target) = (Stage::new().await, Stage::new().await);
    let proxy = stage.proxy().await;
    fill(&proxy).await;
    let version_3 = json!({"schema": "todo-item", "version": 3, "title": "new", "group": "x", "_attachments": {
        "large.txt": {"content_type": "text/plain", "data": BASE64_STANDARD.encode(large())}}});
    proxy.put("todo-item:new:v:3", version_3).await;
    assert_carried(&stage.direct()).await;
    let source = End {
        db: &proxy,
        headers: vec![VERSION_3],
    };
    let session = replicate(&source, &plain(&target.direct())).await;
    let (offered, pulled) = (everything(&stage.direct()).await, everything(&target.direct()).await);
    let visible = |id: &String| !id.starts_with("todo-item:") || id.ends_with(":v:3");
    let offered: BTreeMap<_, _> = offered.into_iter().filter(|(id, _)| visible(id)).collect();
    assert_eq!(offered, pulled);
    // The new todo, and what was carried with attachments: the edited one, and one side of the conflict.
    assert_eq!((session.rows, session.alone), (pulled.len(), 3));
    assert_eq!(pulled["todo-item:conf:v:3"].len(), 2);
    target.end().await;
    stage.end().await;
}

/// The embedded store has none.
fn has_replicator() -> bool {
    let has = std::env::var("COUCHDB_URL").is_ok();
    if !has {
        eprintln!("skipped: jobs take the replicator of a CouchDB, named by COUCHDB_URL");
    }
    has
}

/// A job on the server itself, done.
async fn job(body: Value) -> Value {
    let url = std::env::var("COUCHDB_URL").unwrap();
    let upstream = chesterfield::upstream::http(&url, chesterfield::upstream::Timeouts::default()).unwrap();
    let request = http::Request::post("/_replicate")
        .header("content-type", "application/json")
        .header("authorization", upstream.account.clone().unwrap())
        .body(chesterfield::upstream::body::full(body.to_string()))
        .unwrap();
    let answer = upstream.send(request).await.unwrap();
    let body = chesterfield::upstream::body::read(answer.into_body(), 1 << 20)
        .await
        .unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// An end of a job.
fn end_of_job(db: &Asking, headers: &[(&str, &str)]) -> Value {
    let mut all: BTreeMap<&str, &str> = headers.iter().copied().collect();
    all.extend(db.authorization().map(|value| ("authorization", value)));
    json!({ "url": db.url(), "headers": all })
}

#[tokio::test]
async fn a_job_of_couchdb_pushes_through_the_proxy() {
    if !has_replicator() {
        return;
    }
    let (source, mut stage) = (Stage::new().await, Stage::new().await);
    let proxy = stage.proxy().await;
    fill(&source.direct()).await;
    let source_end = end_of_job(&source.direct(), &[]);
    let done = job(json!({"source": source_end, "target": end_of_job(&proxy, &[VERSION_3])})).await;
    assert_eq!(done["history"][0]["docs_written"], 6, "{done}");
    assert_eq!(done["history"][0]["doc_write_failures"], 0, "{done}");
    let arrived = everything(&stage.direct()).await;
    for (id, leaves) in everything(&source.direct()).await {
        assert_eq!(leaves, arrived[&id], "{id}");
    }
    assert_carried(&stage.direct()).await;
    stage.end().await;
    source.end().await;
}

#[tokio::test]
async fn a_job_of_couchdb_pulls_what_the_version_may_see() {
    if !has_replicator() {
        return;
    }
    // One by one and in batches: what the source's answers are taken for differs.
    for use_bulk_get in [true, false] {
        let (mut stage, target) = (Stage::new().await, Stage::new().await);
        let proxy = stage.proxy().await;
        fill(&proxy).await;
        let target_end = end_of_job(&target.direct(), &[]);
        let source_end = end_of_job(&proxy, &[VERSION_3]);
        let body = json!({"source": source_end, "target": target_end, "use_bulk_get": use_bulk_get});
        let done = job(body).await;
        assert_eq!(done["ok"], true, "{done}");
        let visible = |id: &String| !id.starts_with("todo-item:") || id.ends_with(":v:3");
        let offered = everything(&stage.direct()).await.into_iter();
        let offered: BTreeMap<_, _> = offered.filter(|(id, _)| visible(id)).collect();
        assert_eq!(offered, everything(&target.direct()).await);
        target.end().await;
        stage.end().await;
    }
}
