//! `_all_docs` of a scoped app version is `_all_docs` of a database that has only what it is shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use chesterfield::{schema::Scope, upstream::UpstreamService};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Map, Value, json};
use tower::{Service, service_fn};

use super::{JSON, Scoped, V2, stage::Stage, todos};

/// A database as it would be without what is hidden.
struct Model {
    rows: BTreeMap<String, Value>,
    /// What keys find of documents that were deleted.
    tombstones: BTreeMap<String, Value>,
}

impl Model {
    /// Of what is there now; these were deleted, if they have not come back.
    async fn of(scoped: &Scoped, deleted: &BTreeSet<String>) -> Self {
        let all = scoped.direct.ask("GET", "_all_docs?include_docs=true", "").await;
        let rows = all.body["rows"].as_array().unwrap().iter();
        let named = rows.map(|row| (row["id"].as_str().unwrap().to_owned(), row.clone()));
        let rows = named.filter(|(id, _)| scoped.admits(id)).collect();
        let keys = json!({ "keys": deleted.iter().filter(|id| scoped.admits(id)).collect::<Vec<_>>() });
        let keyed = scoped
            .direct
            .ask("POST", "_all_docs?include_docs=true", keys.to_string())
            .await;
        let keyed = keyed.body["rows"].as_array().unwrap().iter();
        let tombstones = keyed
            .map(|row| (row["key"].as_str().unwrap().to_owned(), row.clone()))
            .collect();
        Self { rows, tombstones }
    }

    fn answer(&self, query: &Map<String, Value>) -> Value {
        let is_set = |name: &str| query.get(name) == Some(&Value::Bool(true));
        let number = |name: &str, otherwise: usize| query.get(name).map_or(otherwise, |n| n.as_u64().unwrap() as usize);
        let (skip, limit) = (number("skip", 0), number("limit", usize::MAX));
        let show = |row: &Value| {
            let mut row = row.clone();
            if !is_set("include_docs") {
                row.as_object_mut().unwrap().shift_remove("doc");
            }
            row
        };
        let total = self.rows.len();
        if let Some(keys) = query.get("keys").and_then(Value::as_array) {
            let row = |key: &Value| match key
                .as_str()
                .and_then(|id| self.rows.get(id).or(self.tombstones.get(id)))
            {
                Some(row) => show(row),
                None => json!({"key": key, "error": "not_found"}),
            };
            let mut rows: Vec<Value> = keys.iter().map(row).collect();
            if is_set("descending") {
                rows.reverse();
            }
            let rows: Vec<Value> = rows.into_iter().skip(skip).take(limit).collect();
            return json!({"total_rows": total, "offset": null, "rows": rows});
        }
        let text = |name: &str| query.get(name).map(|id| id.as_str().unwrap().to_owned());
        let (start, end) = match text("key") {
            Some(key) => (Some(key.clone()), Some(key)),
            None => (text("startkey"), text("endkey")),
        };
        let mut ids: Vec<&String> = self.rows.keys().collect();
        let descending = is_set("descending");
        if descending {
            ids.reverse();
        }
        let is_past = |id: &String, bound: &String| if descending { id < bound } else { id > bound };
        let before = ids
            .iter()
            .filter(|id| start.as_ref().is_some_and(|start| is_past(start, id)))
            .count();
        let exclusive = query.get("inclusive_end") == Some(&Value::Bool(false));
        let in_range = |id: &&&String| {
            end.as_ref()
                .is_none_or(|end| !is_past(id, end) && (**id != end || !exclusive))
        };
        let rows = ids.iter().skip(before).filter(in_range).skip(skip).take(limit);
        let rows: Vec<Value> = rows.map(|id| show(&self.rows[*id])).collect();
        json!({"total_rows": total, "offset": (before + skip).min(total), "rows": rows})
    }
}

fn id() -> impl Strategy<Value = String> {
    let key = proptest::sample::select(vec!["a", "b", "b:v:2", "ä", "c d", "e\"", ""]);
    let class = proptest::sample::select(vec![
        "todo-item:{}:v:1",
        "todo-item:{}:v:2",
        "todo-item:{}:v:3",
        "todo-item-status:{}:v:1",
        "todo-item:{}",
        "{}",
        "todo-itez:{}",
        "~{}",
    ]);
    let id = (class, key).prop_map(|(class, key)| class.replace("{}", key));
    id.prop_filter("CouchDB refuses it", |id| !id.is_empty())
}

fn query() -> impl Strategy<Value = Map<String, Value>> {
    let range = prop_oneof![
        Just(json!({})),
        id().prop_map(|id| json!({"key": id})),
        id().prop_map(|id| json!({"startkey": id})),
        id().prop_map(|id| json!({"endkey": id})),
        (id(), id(), any::<bool>())
            .prop_map(|(a, b, inclusive)| json!({"startkey": a, "endkey": b, "inclusive_end": inclusive})),
        proptest::collection::vec(prop_oneof![4 => id().prop_map(Value::from), 1 => Just(json!(5))], 2..6)
            .prop_map(|keys| json!({ "keys": keys })),
    ];
    let window = (proptest::option::of(0..8_u64), proptest::option::of(0..8_u64));
    (range, window, any::<bool>(), any::<bool>()).prop_map(|(range, (skip, limit), descending, include_docs)| {
        let mut query = range.as_object().unwrap().clone();
        if descending {
            query.insert("descending".into(), true.into());
            // Otherwise most of them were empty.
            if let (Some(start), Some(end)) = (query.get("startkey").cloned(), query.get("endkey").cloned()) {
                query.extend([("startkey".into(), end), ("endkey".into(), start)]);
            }
        }
        query.extend(skip.map(|skip| ("skip".into(), skip.into())));
        query.extend(limit.map(|limit| ("limit".into(), limit.into())));
        if include_docs {
            query.insert("include_docs".into(), true.into());
        }
        query
    })
}

/// The same cases in every run: each takes a request.
struct Cases(TestRunner);

impl Cases {
    fn new() -> Self {
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        Self(TestRunner::new_with_rng(Config::default(), rng))
    }

    fn draw<S: Strategy>(&mut self, strategy: S) -> S::Value {
        strategy.new_tree(&mut self.0).unwrap().current()
    }
}

/// As parameters of a URL.
fn url(query: &Map<String, Value>) -> String {
    let escaped = |value: &Value| {
        percent_encoding::utf8_percent_encode(&value.to_string(), percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={}", escaped(value)))
        .collect();
    pairs.join("&")
}

#[tokio::test]
async fn it_is_that_of_a_database_without_what_is_hidden() {
    for scope in [Scope::Exact, Scope::CurrentAndNewer] {
        let scoped = Scoped::new(scope).await;
        let mut cases = Cases::new();
        let mut revs: BTreeMap<String, String> = BTreeMap::new();
        let mut deleted = BTreeSet::new();
        for round in 0..12 {
            // Counts have to follow what is written and deleted meanwhile.
            for _ in 0..if round == 0 { 30 } else { 2 } {
                let id = cases.draw(id());
                let path = percent_encoding::utf8_percent_encode(&id, percent_encoding::NON_ALPHANUMERIC).to_string();
                match revs.remove(&id) {
                    Some(rev) => {
                        let answer = scoped.direct.ask("DELETE", &format!("{path}?rev={rev}"), "").await;
                        assert!(answer.status.is_success(), "{answer:?}");
                        deleted.insert(id);
                    }
                    None => {
                        let answer = scoped.direct.ask("PUT", &path, json!({"n": round}).to_string()).await;
                        revs.insert(id, answer.body["rev"].as_str().unwrap().to_owned());
                    }
                }
            }
            let model = Model::of(&scoped, &deleted).await;
            for _ in 0..12 {
                let query = cases.draw(query());
                let expected = model.answer(&query);
                let got = scoped.ask("GET", &format!("_all_docs?{}", url(&query)), "").await;
                assert_eq!(got.body, expected, "GET {query:?}");
                let text = Value::from(query.clone()).to_string();
                assert_eq!(
                    scoped.ask("POST", "_all_docs", &text).await.body,
                    expected,
                    "POST {query:?}"
                );
            }
            // With one key CouchDB takes it for a range here.
            let queries: Vec<_> = (0..4).map(|_| cases.draw(query())).collect();
            let expected: Vec<Value> = queries.iter().map(|query| model.answer(query)).collect();
            let text = json!({ "queries": queries }).to_string();
            let got = scoped.ask("POST", "_all_docs/queries", &text).await;
            assert_eq!(got.body, json!({ "results": expected }), "{text}");
        }
        scoped.stage.end().await;
    }
}

#[tokio::test]
async fn a_legacy_app_sees_each_todo_once() {
    let scoped = Scoped::new(Scope::Exact).await;
    scoped.write(todos(&["a", "b"])).await;
    let seen = ["plain", "todo-item-status:a:v:1", "todo-item:a:v:2", "todo-item:b:v:2"];
    assert_eq!(scoped.ids("GET", "_all_docs", "").await, seen);
    // Nobody else is limited, and by its id everything can be read.
    let all = scoped.direct.ask("GET", "_all_docs", "").await.body;
    assert_eq!(scoped.proxy.ask("GET", "_all_docs", "").await.body, all);
    for path in [
        "todo-item:a:v:1",
        "todo-item:a:v:1?open_revs=all",
        "todo-item:a:v:3?revs=true",
    ] {
        let answer = scoped.proxy.ask_with("GET", path, &[V2, JSON], "").await;
        assert_eq!(
            answer.body,
            scoped.direct.ask_with("GET", path, &[JSON], "").await.body,
            "{path}"
        );
        assert!(answer.status.is_success());
    }
    let design = scoped.ask("GET", "_design_docs", "").await;
    assert_eq!(design.body, scoped.direct.ask("GET", "_design_docs", "").await.body);
    scoped.stage.end().await;
}

#[tokio::test]
async fn what_couchdb_refuses_is_refused_in_its_words() {
    let scoped = Scoped::new(Scope::Exact).await;
    for (method, path, body) in [
        ("GET", "_all_docs?limit=-1", ""),
        ("GET", "_all_docs?skip=x&limit=1", ""),
        ("GET", "_all_docs?keys=5", ""),
        ("POST", "_all_docs", ""),
        ("POST", "_all_docs", "[]"),
        ("POST", "_all_docs", r#"{"keys":5}"#),
        ("POST", "_all_docs", r#"{"limit":-1}"#),
        ("POST", "_all_docs/queries", "{}"),
        ("POST", "_all_docs/queries", r#"{"queries":[{},{"limit":-1}]}"#),
        ("PUT", "_all_docs", "{}"),
        ("GET", "_all_docs/queries", ""),
    ] {
        let (ours, theirs) = (
            scoped.ask(method, path, body).await,
            scoped.direct.ask(method, path, body).await,
        );
        assert!(!theirs.status.is_success(), "{method} {path}");
        assert_eq!(
            (ours.status, ours.body),
            (theirs.status, theirs.body),
            "{method} {path} {body}"
        );
    }
    scoped.stage.end().await;
}

/// What reaches the database is noted, without its query.
async fn noted() -> (Scoped, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let note = asked.clone();
    let stage = Stage::behind(move |mut service| {
        UpstreamService::new(service_fn(move |request: http::Request<_>| {
            let path = request.uri().path().split('/').nth(2).unwrap_or_default();
            note.lock().unwrap().push(path.to_owned());
            service.call(request)
        }))
    });
    (Scoped::on(stage.await, Scope::Exact).await, asked)
}

#[tokio::test]
async fn only_what_has_changed_is_counted_anew() {
    let (scoped, asked) = noted().await;
    let keys: Vec<String> = (0..500).map(|n| format!("{n:03}")).collect();
    scoped
        .write(todos(&keys.iter().map(String::as_str).collect::<Vec<_>>()))
        .await;
    let listed = async |path: &str| {
        let answer = scoped.ask("GET", path, "").await;
        let asked: Vec<String> = std::mem::take(&mut *asked.lock().unwrap());
        (
            answer.body["total_rows"].as_u64().unwrap(),
            answer.body["offset"].clone(),
            asked,
        )
    };
    let first = listed("_all_docs?limit=1").await;
    assert_eq!(
        first,
        (502, 0.into(), vec!["_all_docs".into(), "".into(), "_all_docs".into()])
    );
    let again = listed("_all_docs?limit=1").await;
    assert_eq!(again, (502, 0.into(), vec!["_all_docs".into(), "".into()]));
    // Where a page begins costs a part of one bucket.
    let page = listed("_all_docs?limit=1&startkey=%22todo-item:250%22").await;
    assert_eq!(page.1, 252);
    assert_eq!(page.2, ["_all_docs", "", "_all_docs"]);
    scoped
        .write(vec![
            json!({"_id": "todo-item:x:v:1"}),
            json!({"_id": "todo-item:x:v:2"}),
            json!({"_id": "other"}),
        ])
        .await;
    let (total, _, asked) = listed("_all_docs?limit=1").await;
    assert_eq!(
        (total, asked),
        (
            504,
            ["_all_docs", "", "_changes", "_all_docs"].map(str::to_owned).to_vec()
        )
    );
    scoped.stage.end().await;
}

#[tokio::test]
async fn a_database_made_anew_is_counted_anew() {
    let scoped = Scoped::new(Scope::Exact).await;
    for keys in [&["a", "b"][..], &["c"], &["a", "c", "d", "e"]] {
        scoped.write(todos(keys)).await;
        let listed = scoped.ask("GET", "_all_docs", "").await.body;
        assert_eq!(listed["total_rows"], keys.len() as u64 + 2);
        assert!(scoped.direct.ask("DELETE", "", "").await.status.is_success());
        assert!(scoped.direct.ask("PUT", "", "").await.status.is_success());
    }
    scoped.stage.end().await;
}

/// A partition is a part of a shard, and it is the shard that CouchDB counts; of it, what is hidden in the partition is taken.
#[tokio::test]
async fn a_partition_is_scoped_too() {
    if std::env::var("COUCHDB_URL").is_err() {
        eprintln!("skipped: without COUCHDB_URL there are no partitions");
        return;
    }
    let scoped = Scoped::new(Scope::Exact).await;
    assert!(scoped.direct.ask("DELETE", "", "").await.status.is_success());
    let made = scoped.direct.ask("PUT", "?partitioned=true&q=1", "").await;
    assert!(made.status.is_success(), "{made:?}");
    let todos =
        ["a", "b", "c"].map(|key| (1..=3).map(move |version| json!({"_id": format!("todo-item:{key}:v:{version}")})));
    scoped
        .write(todos.into_iter().flatten().chain([json!({"_id": "p:x"})]).collect())
        .await;
    let partition = "_partition/todo-item";
    let (a, b, c) = ("todo-item:a:v:2", "todo-item:b:v:2", "todo-item:c:v:2");
    assert_eq!(
        scoped.ids("GET", &format!("{partition}/_all_docs"), "").await,
        [a, b, c]
    );
    assert_eq!(
        scoped
            .ids("GET", &format!("{partition}/_all_docs?skip=1&limit=1"), "")
            .await,
        [b]
    );
    assert_eq!(
        scoped
            .ids("POST", &format!("{partition}/_find"), r#"{"selector":{}}"#)
            .await,
        [a, b, c]
    );
    for (query, offset) in [
        ("", 1),
        ("startkey=%22todo-item:b%22", 2),
        ("startkey=%22todo-item:b%22&skip=1", 3),
        ("startkey=%22todo-item:b:v:2%22&descending=true", 1),
    ] {
        let listed = scoped
            .ask("GET", &format!("{partition}/_all_docs?{query}"), "")
            .await
            .body;
        assert_eq!(
            (&listed["total_rows"], &listed["offset"]),
            (&json!(4), &json!(offset)),
            "{query} {listed}"
        );
    }
    let keys = r#"{"keys":["todo-item:a:v:1","todo-item:a:v:2"]}"#;
    let keyed = scoped.ask("POST", &format!("{partition}/_all_docs"), keys).await.body;
    assert_eq!(
        keyed["rows"][0],
        json!({"key": "todo-item:a:v:1", "error": "not_found"})
    );
    assert_eq!(keyed["rows"][1]["id"], a);
    assert_eq!(
        scoped
            .ids("GET", &format!("{partition}/_all_docs?keys=%5B%22{a}%22%5D"), "")
            .await,
        [a]
    );
    scoped.stage.end().await;
}
