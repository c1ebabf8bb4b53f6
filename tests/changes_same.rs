//! Both ways to filter `_changes` tell every client the same, over random databases and random questions: in the embedded store, or on
//! the server that `COUCHDB_URL` names.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::sync::Arc;

use chesterfield::{
    proxy::{Changes, Databases, Settings},
    schema::{AppManifest, Apps, Class, ClassName, IdPattern, Registry, Scope, pattern},
    upstream::{self, Timeouts, Upstream, UpstreamService, embedded::Embedded},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value, json};
use support::{Running, Wire};

const DB: &str = "same";

/// Databases tried, and questions asked of each.
const DATABASES: usize = 6;
const QUESTIONS: usize = 30;

/// One write of a document: of which class, or none; whether deleted; under how many conflicting revisions.
#[derive(Clone, Debug)]
struct Doc {
    id: String,
    n: u8,
    leaves: u8,
    deleted: bool,
    padding: usize,
}

#[derive(Clone, Debug)]
struct Question {
    feed: &'static str,
    style: &'static str,
    filter: String,
    posted: Option<Value>,
    limit: Option<u64>,
    descending: bool,
    include_docs: bool,
    conflicts: bool,
    seq_interval: Option<u64>,
}

/// What a client has been told in the end, over all its pages.
#[derive(Debug, PartialEq)]
struct Told {
    rows: Vec<Value>,
    pending: Value,
}

fn docs() -> impl Strategy<Value = Vec<Doc>> {
    let class = prop_oneof![
        4 => Just("todo-item:{}:v:1"),
        2 => Just("todo-item:{}:v:2"),
        2 => Just("todo-item:{}:v:3"),
        1 => Just("plain-{}"),
        1 => Just("todo-item:{}\"\\ä:v:1"),
        1 => Just("_design/d{}"),
    ];
    let doc = (class, 0_u8..40, any::<u8>(), 1_u8..4, any::<bool>(), 0_usize..3);
    let doc = doc.prop_map(|(pattern, key, n, leaves, deleted, padding)| Doc {
        id: pattern.replace("{}", &key.to_string()),
        n,
        leaves: if pattern.starts_with("_design") { 1 } else { leaves },
        deleted: deleted && n % 2 == 0,
        padding: padding * 5000,
    });
    proptest::collection::vec(doc, 0..120)
}

fn questions(functions: bool) -> impl Strategy<Value = Question> {
    let ids: Vec<String> = (0..40)
        .flat_map(|n| {
            [
                format!("todo-item:{n}:v:1"),
                format!("todo-item:{n}:v:2"),
                format!("plain-{n}"),
            ]
        })
        .collect();
    let some_ids = proptest::sample::subsequence(ids, 0..20);
    let mut filters = vec![
        Just((String::new(), None)).boxed(),
        Just((String::new(), None)).boxed(),
        Just(("_design".to_owned(), None)).boxed(),
        (0_u8..=255)
            .prop_map(|n| ("_selector".to_owned(), Some(json!({"selector": {"n": {"$lt": n}}}))))
            .boxed(),
        some_ids
            .clone()
            .prop_map(|ids| ("_doc_ids".to_owned(), Some(json!({"doc_ids": ids}))))
            .boxed(),
        some_ids
            .prop_map(|ids| {
                let ids = json!(ids).to_string();
                let ids = percent_encoding::utf8_percent_encode(&ids, percent_encoding::NON_ALPHANUMERIC);
                (format!("_doc_ids&doc_ids={ids}"), None)
            })
            .boxed(),
    ];
    if functions {
        filters.push((0_u8..=255).prop_map(|n| (format!("app/below&n={n}"), None)).boxed());
        filters.push(Just(("_view&view=app/even".to_owned(), None)).boxed());
    }
    let feed = prop_oneof![
        3 => Just("normal"), 1 => Just("longpoll&timeout=1"), 1 => Just("continuous&timeout=1"), 1 => Just("eventsource&timeout=1"),
    ];
    (
        feed,
        prop_oneof![Just("main_only"), Just("all_docs")],
        proptest::strategy::Union::new(filters),
        proptest::option::of(1_u64..40),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.3),
        any::<bool>(),
        proptest::option::of(1_u64..5),
    )
        .prop_map(
            |(feed, style, (filter, posted), limit, descending, include_docs, conflicts, seq_interval)| Question {
                feed,
                style,
                filter,
                posted,
                limit,
                descending,
                include_docs,
                conflicts,
                // Of events nothing but their ids tells where to go on.
                seq_interval: seq_interval.filter(|_| !feed.starts_with("eventsource")),
            },
        )
}

/// What one client is told by one proxy.
struct Client {
    wire: Wire,
    headers: String,
    db: String,
}

impl Client {
    async fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        let target = format!("/{}{path}", self.db);
        match body {
            Some(body) => {
                self.wire
                    .ask_with(method, &target, &self.headers, &body.to_string())
                    .await
            }
            None => self.wire.ask(method, &target, &self.headers).await,
        }
        let (head, body) = self.wire.message().await;
        (head.status(), body)
    }

    /// Follows a question through all its pages.
    async fn told(&mut self, question: &Question) -> Told {
        let mut told = Told {
            rows: Vec::new(),
            pending: Value::Null,
        };
        let mut since = "0".to_owned();
        for page in 0.. {
            assert!(page < 300, "it never ends: {question:?}");
            let (rows, last_seq, pending) = self.page(question, &since).await;
            let is_whole = question.limit.is_none_or(|limit| (rows.len() as u64) < limit);
            assert!(
                question.limit.is_none_or(|limit| rows.len() as u64 <= limit),
                "{question:?}: {} rows",
                rows.len()
            );
            // The seqs of rows are those of the database, wherever there are any.
            let last_row = rows.last().map(|row| row["seq"].clone());
            told.rows.extend(rows);
            told.pending = pending;
            if is_whole || question.descending {
                break;
            }
            since = match last_seq.or(last_row) {
                Some(Value::String(seq)) => seq,
                other => panic!("{question:?}: no seq to go on from, but {other:?}"),
            };
        }
        told
    }

    async fn page(&mut self, question: &Question, since: &str) -> (Vec<Value>, Option<Value>, Value) {
        let Question {
            feed, style, filter, ..
        } = question;
        let mut path = format!("/_changes?feed={feed}&since={since}&style={style}&filter={filter}");
        for (name, value) in [("limit", question.limit), ("seq_interval", question.seq_interval)] {
            path += &value.map_or_else(String::new, |value| format!("&{name}={value}"));
        }
        for (name, value) in [
            ("descending", question.descending),
            ("include_docs", question.include_docs),
            ("conflicts", question.conflicts),
        ] {
            path += if value { format!("&{name}=true") } else { String::new() }.as_str();
        }
        let method = if question.posted.is_some() { "POST" } else { "GET" };
        let (status, body) = self.ask(method, &path, question.posted.as_ref()).await;
        assert_eq!(status, 200, "{path}: {body}");
        let parsed =
            |text: &str| -> Value { serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")) };
        if feed.starts_with("eventsource") {
            let rows = body.lines().filter_map(|line| line.strip_prefix("data: {"));
            let rows: Vec<Value> = rows.map(|row| parsed(&format!("{{{row}"))).collect();
            let last = body.lines().filter_map(|line| line.strip_prefix("id: ")).next_back();
            return (rows, last.map(parsed).filter(Value::is_string), Value::Null);
        }
        let (rows, end) = if feed.starts_with("continuous") {
            let lines = body.lines().filter(|line| !line.is_empty());
            let mut rows: Vec<Value> = lines.map(parsed).collect();
            let end = rows.pop().unwrap();
            (rows, end)
        } else {
            let mut body = parsed(&body);
            let Value::Array(rows) = body["results"].take() else {
                panic!("no rows")
            };
            (rows, body)
        };
        assert!(end["last_seq"].is_string(), "{path}: {end}");
        (rows, Some(end["last_seq"].clone()), end["pending"].clone())
    }
}

/// The todo app with three classes: version 2 sees two of them, the strict one sees one.
fn apps() -> Apps {
    let class = |major: u64| {
        let name: ClassName = format!("todo-item@{major}").parse().unwrap();
        let pattern = IdPattern::new(pattern::DEFAULT, &name).unwrap();
        Class::new(name, semver::Version::new(major, 0, 0), pattern)
    };
    let registry = Arc::new(Registry::new(vec![class(1), class(2), class(3)], vec![]).unwrap());
    let app = |name: &str, newer: &str| {
        let manifest =
            json!({ "name": name, "version": "2.0.0", "dependencies": { "todo-item": "^2" }, "newer": newer });
        AppManifest::new(&registry, serde_json::from_value(manifest).unwrap(), Scope::All)
    };
    Apps::new([app("todo", "seamless"), app("strict", "withhold")]).unwrap()
}

async fn fill(direct: &mut Client, docs: &[Doc]) {
    let mut written = Vec::new();
    for (nth, doc) in docs.iter().enumerate() {
        for leaf in 0..doc.leaves {
            let mut body = Map::new();
            body.insert("_id".into(), doc.id.clone().into());
            body.insert("_rev".into(), format!("1-{nth:016x}{leaf:016x}").into());
            body.insert("n".into(), doc.n.into());
            if doc.deleted && leaf == 0 {
                body.insert("_deleted".into(), true.into());
            }
            if doc.padding > 0 {
                body.insert("text".into(), "}]\"\\,{".repeat(doc.padding / 6).into());
            }
            written.push(Value::Object(body));
        }
    }
    let body = json!({"new_edits": false, "docs": written});
    assert_eq!(direct.ask("POST", "/_bulk_docs", Some(&body)).await.0, 201);
}

#[tokio::test]
async fn both_ways_tell_the_same() {
    let couchdb = std::env::var("COUCHDB_URL").ok();
    let upstream = match &couchdb {
        Some(url) => upstream::http(url, Timeouts::default()).unwrap(),
        None => Upstream {
            service: UpstreamService::new(Embedded::memory()),
            account: None,
            name: "embedded".into(),
        },
    };
    let authorization = upstream.account.as_ref().map_or_else(String::new, |account| {
        format!("authorization: {}\r\n", account.to_str().unwrap())
    });
    let settings = |changes| Settings {
        databases: Databases::new([format!("{DB}*")]).unwrap(),
        apps: apps(),
        changes,
        ..Settings::default()
    };
    let selector = Running::start(settings(Changes::Selector), upstream.clone()).await;
    let rows = Running::start(settings(Changes::Rows), upstream.clone()).await;
    let mut runner = TestRunner::new(Config::default());
    for nth in 0..DATABASES {
        let db = format!("{DB}-{}-{nth}", std::process::id());
        let client = async |proxy: &Running, app: &str| Client {
            wire: proxy.connect().await,
            headers: format!("{authorization}{app}"),
            db: db.clone(),
        };
        let mut direct = client(&rows, "").await;
        assert_eq!(direct.ask("PUT", "?q=1", None).await.0, 201);
        let docs = docs().new_tree(&mut runner).unwrap().current();
        fill(&mut direct, &docs).await;
        if couchdb.is_some() {
            let design = json!({
                "filters": {"below": "function(doc, req) { return doc.n < Number(req.query.n); }"},
                "views": {"even": {"map": "function(doc) { if (doc.n % 2 == 0) { emit(doc.n); } }"}},
            });
            assert_eq!(direct.ask("PUT", "/_design/app", Some(&design)).await.0, 201);
        }
        for _ in 0..QUESTIONS {
            let question = questions(couchdb.is_some()).new_tree(&mut runner).unwrap().current();
            for app in ["app-version: todo@2.0.0\r\n", "app-version: strict@2.0.0\r\n"] {
                let filter = apps()
                    .iter()
                    .find(|known| app.contains(&known.to_string()))
                    .unwrap()
                    .replicates
                    .clone()
                    .unwrap();
                let by_selector = client(&selector, app).await.told(&question).await;
                let by_rows = client(&rows, app).await.told(&question).await;
                // What is there, and not hidden: the database's own feed says so.
                let mut all = client(&rows, "")
                    .await
                    .told(&Question {
                        limit: None,
                        ..question.clone()
                    })
                    .await;
                all.rows.retain(|row| filter.admits(row["id"].as_str().unwrap()));
                let limited = question.limit.filter(|_| question.descending);
                all.rows.truncate(limited.map_or(usize::MAX, |limit| limit as usize));
                let same = |told: &Told| {
                    let mut rows = told.rows.clone();
                    if question.seq_interval.is_some() {
                        rows.iter_mut().for_each(|row| row["seq"] = Value::Null);
                    }
                    // CouchDB's filters tell of conflicts where there are none (`couch_changes:open_all_revs_include_doc`).
                    for doc in rows.iter_mut().filter_map(|row| row.get_mut("doc")?.as_object_mut()) {
                        if doc.get("_conflicts") == Some(&json!([])) {
                            doc.remove("_conflicts");
                        }
                    }
                    rows
                };
                for (way, told) in [("rows", &by_rows), ("selector", &by_selector)] {
                    let (told, all) = (same(told), same(&all));
                    let at = told.iter().zip(&all).position(|(told, all)| told != all);
                    let differing = at.map(|at| format!("row {at}: {} and not {}", told[at], all[at]));
                    let what = format!("{way}, {app}{question:?}");
                    assert_eq!(differing, None, "{what}\n{docs:?}");
                    assert_eq!(told.len(), all.len(), "{what}\n{docs:?}");
                }
                // Both are told that nothing is left; backwards CouchDB alone knows, and only of its own filters.
                if !question.descending {
                    assert_eq!(by_rows.pending, by_selector.pending, "{question:?} {app}{docs:?}");
                }
            }
        }
        // Its own connection may have been idle for too long.
        client(&rows, "").await.ask("DELETE", "", None).await;
    }
}
