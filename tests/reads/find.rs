//! `_find` and `_explain` of a scoped app version.

use chesterfield::schema::Scope;
use serde_json::{Value, json};

use super::{JSON, Scoped, V2, stage::Stage, todos};

const SHOWN: [&str; 4] = ["plain", "todo-item-status:a:v:1", "todo-item:a:v:2", "todo-item:b:v:2"];

#[tokio::test]
async fn only_what_the_app_works_with_is_found() {
    let scoped = Scoped::new(Scope::Exact).await;
    scoped.write(todos(&["a", "b"])).await;
    for (query, found) in [
        (json!({"selector": {}}), &SHOWN[..]),
        (
            json!({"selector": {"_id": {"$gt": null}}, "fields": ["_id"]}),
            &SHOWN[..],
        ),
        (json!({"selector": {"schema": "todo-item"}}), &SHOWN[2..]),
        (
            json!({"selector": {"$or": [{"title": "a"}, {"title": "c"}]}}),
            &SHOWN[2..3],
        ),
        (json!({"selector": {"version": 1, "schema": "todo-item"}}), &[]),
        (json!({"selector": {}, "limit": 1, "skip": 2}), &SHOWN[2..3]),
    ] {
        assert_eq!(scoped.ids("POST", "_find", &query.to_string()).await, found, "{query}");
    }
    // A bookmark leads on from page to page.
    let (mut found, mut bookmark) = (Vec::new(), Value::Null);
    loop {
        let mut query = json!({"selector": {"schema": "todo-item"}, "limit": 1});
        if !bookmark.is_null() {
            query["bookmark"] = bookmark;
        }
        let page = scoped.ask("POST", "_find", &query.to_string()).await.body;
        let Some(doc) = page["docs"][0].as_object() else { break };
        found.push(doc["_id"].clone());
        bookmark = page["bookmark"].clone();
    }
    assert_eq!(found, SHOWN[2..]);
    scoped.stage.end().await;
}

#[tokio::test]
async fn what_couchdb_refuses_is_refused_in_its_words() {
    let scoped = Scoped::new(Scope::Exact).await;
    for (method, body) in [
        ("POST", ""),
        ("POST", "{"),
        ("POST", "[]"),
        ("POST", "{}"),
        ("POST", r#"{"selector":[]}"#),
        ("POST", r#"{"selector":{"$no":1}}"#),
        ("POST", r#"{"selector":{},"limit":-1}"#),
        ("GET", ""),
    ] {
        let (ours, theirs) = (
            scoped.ask(method, "_find", body).await,
            scoped.direct.ask(method, "_find", body).await,
        );
        assert!(!theirs.status.is_success(), "{method} {body}");
        assert_eq!(
            (ours.status, ours.body),
            (theirs.status, theirs.body),
            "{method} {body}"
        );
    }
    scoped.stage.end().await;
}

/// The same index as without our condition, and the same use of it.
#[tokio::test]
async fn every_index_can_be_used() {
    if std::env::var("COUCHDB_URL").is_err() {
        eprintln!("skipped: without COUCHDB_URL there are no indexes");
        return;
    }
    let scoped = Scoped::new(Scope::Exact).await;
    scoped.write(todos(&["a", "b"])).await;
    for index in [
        json!({"ddoc": "by-title", "index": {"fields": ["title"]}}),
        json!({"ddoc": "by-both", "index": {"fields": ["title", "version"]}}),
        json!({"ddoc": "partial", "index": {"fields": ["version"], "partial_filter_selector": {"schema": "todo-item"}}}),
    ] {
        let made = scoped.direct.ask("POST", "_index", index.to_string()).await;
        assert!(made.status.is_success(), "{made:?}");
    }
    for selector in [
        json!({}),
        json!({"title": "a"}),
        json!({"title": {"$gt": "a"}, "version": 2}),
        json!({"version": {"$gte": 2}}),
        json!({"_id": {"$gt": "todo-item:a", "$lt": "todo-item:b"}}),
        json!({"$or": [{"title": "a"}, {"title": "b"}]}),
        json!({"$not": {"title": "a"}}),
    ] {
        for more in [
            json!({}),
            json!({"use_index": "partial"}),
            json!({"use_index": "by-title"}),
            json!({"sort": ["title"]}),
            json!({"fields": ["title"]}),
        ] {
            let mut query = json!({ "selector": selector });
            query.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let plan = async |answer: super::Answered| {
                let mut plan = answer.body;
                assert!(plan["dbname"].is_string(), "{query} {plan}");
                for told in ["selector", "selector_hints"] {
                    plan.as_object_mut().unwrap().shift_remove(told);
                }
                plan
            };
            let ours = plan(scoped.ask("POST", "_explain", &query.to_string()).await).await;
            let theirs = plan(scoped.direct.ask("POST", "_explain", query.to_string()).await).await;
            assert_eq!(ours, theirs, "{query}");
        }
    }
    let explained = scoped
        .ask("POST", "_explain", r#"{"selector":{"title":"a"}}"#)
        .await
        .body;
    assert!(explained["selector"].to_string().contains("$regex"), "{explained}");
    scoped.stage.end().await;
}

#[tokio::test]
async fn an_app_without_a_scope_is_shown_everything() {
    let mut stage = Stage::new().await;
    let proxy = stage.proxy().await;
    let direct = stage.direct();
    let docs = json!({ "docs": todos(&["a"]) }).to_string();
    assert!(direct.ask("POST", "_bulk_docs", docs).await.status.is_success());
    for (method, path, body) in [
        ("GET", "_all_docs?limit=3&skip=1", ""),
        ("POST", "_find", r#"{"selector":{}}"#),
        (
            "POST",
            "_bulk_get",
            r#"{"docs":[{"id":"todo-item:a:v:1"},{"id":"nope"}]}"#,
        ),
    ] {
        let shown = proxy.ask_with(method, path, &[V2, JSON], body).await;
        assert_eq!(
            shown.body,
            direct.ask_with(method, path, &[JSON], body).await.body,
            "{path}"
        );
        assert!(shown.status.is_success());
    }
    stage.end().await;
}
