//! Views of a scoped app version: on a real CouchDB, for the embedded store has none.

use chesterfield::schema::Scope;
use serde_json::{Value, json};

use super::{JSON, Scoped, V2, todos};

/// Three todos in all versions, and views of them. None without `COUCHDB_URL`.
async fn viewed() -> Option<Scoped> {
    if std::env::var("COUCHDB_URL").is_err() {
        eprintln!("skipped: without COUCHDB_URL there are no views");
        return None;
    }
    let scoped = Scoped::new(Scope::Exact).await;
    let mut docs = todos(&["a", "b", "c"]);
    let title = "function (doc) { if (doc.title) { emit(doc.title, doc.version); emit(doc.title, 'twice'); } }";
    let other = "function (doc) { if (doc.title) { emit(doc.title, {_id: 'todo-item:' + doc.title + ':v:1'}); } }";
    docs.push(json!({"_id": "_design/d", "views": {
        "title": {"map": title},
        "other": {"map": other},
        "counted": {"map": title, "reduce": "_count"},
    }}));
    scoped.write(docs).await;
    Some(scoped)
}

fn rows(answer: &Value) -> Vec<Value> {
    answer["rows"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
}

/// The window that CouchDB would have cut from the visible rows.
fn expected(scoped: &Scoped, all: &Value, skip: usize, limit: usize) -> Vec<Value> {
    let visible = |row: &Value| row["id"].as_str().is_none_or(|id| scoped.admits(id));
    rows(all).into_iter().filter(visible).skip(skip).take(limit).collect()
}

#[tokio::test]
async fn rows_of_hidden_documents_are_dropped_before_the_window() {
    let Some(scoped) = viewed().await else { return };
    for view in ["title", "counted", "other"] {
        let map = if view == "counted" { "reduce=false&" } else { "" };
        for range in [
            "",
            "descending=true",
            "key=%22b%22",
            "startkey=%22b%22",
            "startkey=%22b%22&startkey_docid=todo-item:b:v:2",
            "startkey=%22a%22&endkey=%22c%22&inclusive_end=false",
            "keys=%5B%22c%22,%22a%22,%22x%22%5D",
            "include_docs=true",
            "update_seq=true&stable=true&update=true",
        ] {
            let path = format!("_design/d/_view/{view}?{map}{range}");
            let all = scoped.direct.ask("GET", &path, "").await.body;
            for (skip, limit) in [(0, 100), (0, 3), (1, 2), (3, 0), (2, 100), (100, 1)] {
                let answer = scoped
                    .ask("GET", &format!("{path}&skip={skip}&limit={limit}"), "")
                    .await
                    .body;
                assert_eq!(
                    rows(&answer),
                    expected(&scoped, &all, skip, limit),
                    "{path} {skip} {limit}"
                );
                let total = all["total_rows"].as_u64().unwrap();
                assert_eq!(answer["total_rows"], total, "{path}");
                let offset = (all["offset"].as_u64().unwrap() + skip as u64).min(total);
                assert_eq!(answer["offset"], offset, "{path} {skip}");
                assert_eq!(answer.get("update_seq").is_some(), all.get("update_seq").is_some());
            }
            assert_eq!(
                rows(&scoped.ask("GET", &path, "").await.body),
                expected(&scoped, &all, 0, 100),
                "{path}"
            );
        }
    }
    let unsorted = scoped
        .ask("GET", "_design/d/_view/title?sorted=false&limit=3", "")
        .await
        .body;
    assert_eq!(rows(&unsorted).len(), 3);
    assert!(
        rows(&unsorted)
            .iter()
            .all(|row| scoped.admits(row["id"].as_str().unwrap()))
    );
    // A document that is named by a row of another is the app's own wish.
    let other = scoped
        .ask("GET", "_design/d/_view/other?include_docs=true&key=%22a%22", "")
        .await
        .body;
    assert_eq!((rows(&other).len(), &rows(&other)[0]["doc"]["version"]), (1, &json!(1)));
    scoped.stage.end().await;
}

#[tokio::test]
async fn a_body_says_the_same_as_a_url() {
    let Some(scoped) = viewed().await else { return };
    let post = async |body: Value, url: &str| {
        let path = format!("_design/d/_view/title{url}");
        scoped.ask("POST", &path, &body.to_string()).await.body
    };
    let all = scoped
        .direct
        .ask("POST", "_design/d/_view/title", r#"{"keys":["c","a"]}"#)
        .await
        .body;
    let got = post(json!({"keys": ["c", "a"], "skip": 1, "limit": 2}), "").await;
    assert_eq!(rows(&got), expected(&scoped, &all, 1, 2));
    // The URL counts more.
    let got = post(json!({"keys": ["c", "a"], "skip": 5, "limit": 9}), "?skip=1&limit=2").await;
    assert_eq!(rows(&got), expected(&scoped, &all, 1, 2));
    let queries =
        json!({"queries": [{"limit": 2}, {"key": "b", "skip": 1}, {"keys": ["a", "c"], "limit": 3}, {"limit": 0}]});
    let got = scoped
        .ask(
            "POST",
            "_design/d/_view/title/queries?descending=true",
            &queries.to_string(),
        )
        .await
        .body;
    let unlimited = json!({"queries": [{}, {"key": "b"}, {"keys": ["a", "c"]}, {}]}).to_string();
    let all = scoped
        .direct
        .ask("POST", "_design/d/_view/title/queries?descending=true", unlimited)
        .await
        .body;
    for (n, (skip, limit)) in [(0, 2), (1, 100), (0, 3), (0, 0)].into_iter().enumerate() {
        assert_eq!(
            rows(&got["results"][n]),
            expected(&scoped, &all["results"][n], skip, limit),
            "{n}"
        );
    }
    scoped.stage.end().await;
}

#[tokio::test]
async fn what_is_reduced_is_as_it_was() {
    let Some(scoped) = viewed().await else { return };
    for query in [
        "",
        "?group=true",
        "?group=true&limit=2",
        "?group=true&skip=1&limit=1&descending=true",
        "?group_level=1&startkey=%22b%22",
        "?group=true&limit=0",
        "?reduce=true",
        "?include_docs=true",
        "?limit=x",
        "?group=true&keys=%5B%22a%22,%22z%22%5D",
    ] {
        let path = format!("_design/d/_view/counted{query}");
        let ours = scoped.proxy.ask_with("GET", &path, &[V2, JSON], "").await;
        let theirs = scoped.direct.ask_with("GET", &path, &[JSON], "").await;
        assert_eq!((ours.status, ours.body), (theirs.status, theirs.body), "{path}");
    }
    for path in ["_design/d/_view/none", "_design/none/_view/v", "_design/d/_info"] {
        let (ours, theirs) = (
            scoped.ask("GET", path, "").await,
            scoped.direct.ask("GET", path, "").await,
        );
        assert_eq!(ours.status, theirs.status, "{path}");
    }
    scoped.stage.end().await;
}
