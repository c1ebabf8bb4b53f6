//! Lenses in JavaScript, through sockets: what they make, and that a write never fails for what they do not.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "../support/stage.rs"]
mod stage;

use std::path::Path;

use http::StatusCode;
use serde_json::{Value, json};
use stage::{Asking, Stage};

async fn stage() -> Stage {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/schemas");
    Stage::of(&folder).await
}

const P1: &str = "person:k:v:1";
const P2: &str = "person:k:v:2";
const CARD: &str = "person-card:k:v:1";

async fn write(couch: &Asking, id: &str, body: &str) -> Value {
    let answer = couch.ask("PUT", id, body.to_owned()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.body["rev"].clone()
}

#[tokio::test]
async fn a_script_carries_edits_both_ways() {
    let mut stage = stage().await;
    let proxy = stage.proxy().await;
    write(
        &proxy,
        P1,
        r#"{"schema":"person","version":1,"name":"Ada Lovelace","n":9007199254740993,"o":{"b":1,"a":[2.5]}}"#,
    )
    .await;
    let answer = proxy.ask("GET", P2, "").await;
    let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
    assert!(text.contains(r#""first":"Ada","last":"Lovelace""#), "{text}");
    assert!(text.contains(r#""n":9007199254740993,"o":{"b":1,"a":[2.5]}"#), "{text}");
    assert_eq!(proxy.get(CARD).await["text"], json!("Ada Lovelace: person:k"));
    let rev = proxy.rev(P2).await;
    write(
        &proxy,
        P2,
        &json!({"_rev": rev, "schema": "person", "version": 2, "first": "Ada", "last": "King"}).to_string(),
    )
    .await;
    assert_eq!(proxy.get(P1).await["name"], json!("Ada King"));
    stage.end().await;
}

#[tokio::test]
async fn a_script_that_fails_fails_no_write() {
    let mut stage = stage().await;
    let proxy = stage.proxy().await;
    for name in ["Ada", "forever"] {
        let id = format!("person:{name}:v:1");
        let rev = write(
            &proxy,
            &id,
            &json!({"schema": "person", "version": 1, "name": name}).to_string(),
        )
        .await;
        assert_eq!(proxy.get(&id).await["name"], json!(name));
        let missing = proxy.ask("GET", &format!("person:{name}:v:2"), "").await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND, "{missing:?}");
        // The next edit that can be carried takes the earlier one with it.
        let name = format!("{name} Lovelace");
        write(
            &proxy,
            &id,
            &json!({"_rev": rev, "schema": "person", "version": 1, "name": name}).to_string(),
        )
        .await;
        let id = id.replace(":v:1", ":v:2");
        assert_eq!(proxy.get(&id).await["last"], json!("Lovelace"));
    }
    stage.end().await;
}
