//! `_bulk_get` of a scoped app version says of hidden documents what CouchDB says of missing ones.

use chesterfield::schema::Scope;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::{Scoped, V2, todos};

/// The text of an answer, boundaries of its parts put alike.
async fn text(asking: &super::Asking, accept: &str, query: &str, docs: &Value) -> String {
    let headers = [V2, ("accept", accept)];
    let path = format!("_bulk_get{query}");
    let answer = asking
        .ask_with("POST", &path, &headers, json!({ "docs": docs }).to_string())
        .await;
    let text = String::from_utf8_lossy(&answer.bytes).into_owned();
    assert!(answer.status.is_success(), "{answer:?} {text}");
    // The outer one, and those of documents with attachments.
    let kind = answer.headers[CONTENT_TYPE].to_str().unwrap();
    let named = format!("{kind}\n{text}");
    let boundary = |rest: &'_ str| {
        rest.trim_start_matches('"')
            .split(['"', '\r', '\n'])
            .next()
            .unwrap()
            .to_owned()
    };
    let boundaries = named.split("boundary=").skip(1).map(boundary);
    boundaries.fold(text, |text, boundary| text.replace(&boundary, "BOUNDARY"))
}

#[tokio::test]
async fn a_hidden_document_is_a_missing_one() {
    let scoped = Scoped::new(Scope::Exact).await;
    let mut docs = todos(&["a", "e\"ä"]);
    docs.push(json!({"_id": "todo-item:f:v:2", "text": "x".repeat(100_000),
        "_attachments": {"a.txt": {"content_type": "text/plain", "data": "aGlkZGVuOg=="}}}));
    scoped.write(docs).await;
    let rev = scoped.direct.rev("todo-item:a:v:1").await;
    let other = scoped.direct.rev("todo-item:a:v:2").await;
    // Version 2 is not sent version 1 either, so with its revision it is hidden too.
    let ask = |hidden: &str, quoted: &str| {
        json!([
            {"id": "todo-item:a:v:2"},
            {"id": hidden},
            {"id": "nope"},
            {"id": "todo-item:f:v:2"},
            {"id": hidden, "rev": rev, "atts_since": ["1-a"]},
            {"id": hidden, "rev": "no rev"},
            {"id": "todo-item:a:v:2", "rev": other},
            {"id": quoted},
            {"id": "plain"},
            {"id": hidden},
        ])
    };
    for accept in ["application/json", "multipart/mixed", "multipart/related"] {
        for query in ["", "?revs=true&latest=true", "?attachments=true"] {
            let ours = text(
                &scoped.proxy,
                accept,
                query,
                &ask("todo-item:a:v:1", "todo-item:e\"ä:v:3"),
            )
            .await;
            let missing = text(
                &scoped.direct,
                accept,
                query,
                &ask("todo-item:z:v:1", "todo-item:z\"ä:v:3"),
            )
            .await;
            let named = missing
                .replace("todo-item:z:", "todo-item:a:")
                .replace(r#"todo-item:z\""#, r#"todo-item:e\""#);
            assert!(ours == named, "{accept} {query}\n{ours:.3000}\n{named:.3000}");
        }
    }
    scoped.stage.end().await;
}

#[tokio::test]
async fn a_replicator_gets_what_changes_showed_it() {
    let scoped = Scoped::new(Scope::Exact).await;
    scoped.write(todos(&["a"])).await;
    // `newer: seamless`, so `_changes` shows version 3 to version 2.
    let found = async |id: &str| {
        let rev = scoped.direct.rev(id).await;
        let docs = json!({"docs": [{"id": id, "rev": rev}, {"id": id}]}).to_string();
        let answer = scoped
            .proxy
            .ask_with("POST", "_bulk_get?revs=true", &[V2, super::JSON], docs)
            .await;
        let results = answer.body["results"].as_array().unwrap().clone();
        results
            .iter()
            .map(|result| result["docs"][0]["ok"].is_object())
            .collect::<Vec<_>>()
    };
    assert_eq!(found("todo-item:a:v:1").await, [false, false]);
    assert_eq!(found("todo-item:a:v:2").await, [true, true]);
    assert_eq!(found("todo-item:a:v:3").await, [true, false]);
    scoped.stage.end().await;
}

#[tokio::test]
async fn what_couchdb_refuses_is_refused_in_its_words() {
    let scoped = Scoped::new(Scope::Exact).await;
    for body in ["", "[]", "{}", r#"{"docs":[5]}"#, r#"{"docs":[{}]}"#, r#"{"docs":[]}"#] {
        let ask = |asking: super::Asking| async move {
            let answer = asking.ask_with("POST", "_bulk_get", &[V2, super::JSON], body).await;
            (answer.status, answer.body)
        };
        let (ours, theirs) = (ask(scoped.proxy.clone()).await, ask(scoped.direct.clone()).await);
        assert_eq!(ours, theirs, "{body}");
    }
    scoped.stage.end().await;
}
