//! What cannot be carried is parked, seen, mended and carried: through sockets, on either store.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod command;
mod lot;
#[path = "../support/stage.rs"]
mod stage;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use chesterfield::{parked::Pauses, upstream::Body};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use lot::{Lot, SHORT, is_own_write, mended, person, refusing, says, scripts};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tower::Service as _;

#[tokio::test]
async fn what_a_script_fails_at_is_parked_and_all_else_carried() {
    let (lot, mut stage) = Lot::of(&scripts()).await;
    stage.park(Pauses::default());
    let proxy = stage.proxy().await;
    let docs = ["Ada Lovelace", "Ada", "Grace Hopper"].map(person);
    let answer = proxy
        .ask("POST", "_bulk_docs", json!({ "docs": docs }).to_string())
        .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert!(
        answer.body.as_array().unwrap().iter().all(|row| row["ok"] == true),
        "{answer:?}"
    );
    assert_eq!(proxy.get("person:Ada%20Lovelace:v:2").await["last"], "Lovelace");
    assert_eq!(proxy.get("person:Grace%20Hopper:v:2").await["last"], "Hopper");
    assert_eq!(proxy.get("person:Ada:v:2").await, Value::Null);

    let parked = lot.entries(&stage).await;
    assert_eq!(parked.len(), 1, "{parked:?}");
    let entry = &parked[0];
    assert_eq!(entry["_id"], format!("parked:{}:person:Ada:v:1", stage.db));
    let expected = json!([stage.db, "Ada", "person:Ada:v:2", "script", 1]);
    assert_eq!(
        json!([
            entry["db"],
            entry["key"],
            entry["target"],
            entry["error"],
            entry["attempts"]
        ]),
        expected
    );
    assert!(
        entry["place"].as_str().unwrap().starts_with("lenses/names.js:5:"),
        "{entry}"
    );
    assert!(
        entry["reason"].as_str().unwrap().ends_with("“Ada” is only one name"),
        "{entry}"
    );
    assert_eq!(entry["first"], entry["last"]);
    let at = |field: &str| entry[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(at("next").duration_since(at("last")).as_secs(), 60);
    let security = stage
        .direct()
        .ask_server("GET", &format!("{}/_security", lot.db), "")
        .await;
    assert_eq!(security.body["members"]["roles"], json!(["_admin"]));

    // The lens is mended, and the proxy started again.
    stage.ended().await;
    let schemas = mended();
    stage.schemas(schemas.path());
    let proxy = stage.proxy().await;
    lot.until_empty(&stage).await;
    assert_eq!(proxy.get("person:Ada:v:2").await["last"], "Ada");
    lot.end(stage).await;
}

#[tokio::test]
async fn what_its_author_mends_is_unparked_by_that_edit() {
    let (lot, mut stage) = Lot::of(&scripts()).await;
    stage.park(Pauses::default());
    let proxy = stage.proxy().await;
    let mut rev = proxy.put("person:k:v:1", person("Ada")).await;
    for attempts in 1..4 {
        assert_eq!(lot.entries(&stage).await[0]["attempts"], attempts);
        let edit = json!({"_rev": rev, "schema": "person", "version": 1, "name": "Ada", "n": attempts});
        rev = proxy.put("person:k:v:1", edit).await;
    }
    let edit = json!({"_rev": rev, "schema": "person", "version": 1, "name": "Ada Lovelace"});
    proxy.put("person:k:v:1", edit).await;
    assert_eq!(lot.entries(&stage).await, [] as [Value; 0]);
    assert_eq!(proxy.get("person:k:v:2").await["first"], "Ada");
    // Parked once more, under the same id: there is one tombstone for an entity, however often it is parked.
    proxy
        .put(
            "person:k:v:2",
            json!({"_rev": proxy.rev("person:k:v:2").await, "first": "Ada", "last": "King"}),
        )
        .await;
    let edit = json!({"_rev": proxy.rev("person:k:v:1").await, "schema": "person", "version": 1, "name": "Ada"});
    proxy.put("person:k:v:1", edit).await;
    assert_eq!(lot.entries(&stage).await[0]["attempts"], 1);
    let info = stage.direct().ask_server("GET", &lot.db, "").await.body;
    assert_eq!((&info["doc_count"], &info["doc_del_count"]), (&json!(1), &json!(0)));
    lot.end(stage).await;
}

#[tokio::test]
async fn what_couchdb_refuses_is_carried_once_it_takes_it() {
    let refuses = Arc::new(AtomicBool::new(true));
    let (lot, mut stage) = Lot::behind("schemas".as_ref(), refusing(refuses.clone())).await;
    let rule = r#"function (doc) { if (doc._id.indexOf(":v:3") > 0 && doc.title === "forbidden") throw({ forbidden: "no such title" }); }"#;
    let direct = stage.direct();
    let design = direct
        .put(
            "_design/rule",
            json!({"language": "javascript", "validate_doc_update": rule}),
        )
        .await;
    stage.park(SHORT);
    let proxy = stage.proxy().await;
    let todo = |key: &str, title: &str| json!({"_id": format!("todo-item:{key}:v:1"), "schema": "todo-item", "version": 1, "title": title, "isDone": true});
    let docs = json!({"docs": [todo("a", "forbidden"), todo("b", "fine"), todo("c", "forbidden")]});
    let answer = proxy.ask("POST", "_bulk_docs", docs.to_string()).await;
    assert_eq!(
        (answer.status, answer.body.as_array().unwrap().len()),
        (StatusCode::CREATED, 3)
    );
    for key in ["a", "b", "c"] {
        assert_eq!(
            proxy.get(&format!("todo-item-status:{key}:v:1")).await["status"],
            "done"
        );
        let shown = proxy.get(&format!("todo-item:{key}:v:3")).await;
        assert_eq!(shown.is_null(), key != "b", "{shown}");
    }
    lot.until(&stage, |parked| {
        parked.iter().all(|entry| entry["attempts"].as_u64() > Some(2))
    })
    .await;
    let parked = lot.entries(&stage).await;
    let targets: Vec<&Value> = parked.iter().map(|entry| &entry["target"]).collect();
    assert_eq!(targets, ["todo-item:a:v:3", "todo-item:c:v:3"]);
    assert_eq!(
        (&parked[0]["error"], &parked[0]["reason"]),
        (&json!("refused"), &json!("forbidden: no such title"))
    );

    refuses.store(false, Ordering::Relaxed);
    direct.ask("DELETE", &format!("_design/rule?rev={design}"), "").await;
    lot.until_empty(&stage).await;
    assert_eq!(proxy.get("todo-item:a:v:3").await["title"], "forbidden");
    assert_eq!(proxy.get("todo-item:c:v:3").await["title"], "forbidden");
    lot.end(stage).await;
}

#[tokio::test]
async fn what_is_too_large_is_parked() {
    let (lot, mut stage) = Lot::behind("schemas".as_ref(), |request, mut inner| async move {
        if !is_own_write(&request) {
            return inner.call(request).await;
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        if String::from_utf8_lossy(&body).contains("todo-item:large:v:3") {
            return Ok(says(
                413,
                r#"{"error":"document_too_large","reason":"todo-item:large:v:3"}"#,
            ));
        }
        inner
            .call(http::Request::from_parts(
                head,
                chesterfield::upstream::body::full(body),
            ))
            .await
    })
    .await;
    stage.park(Pauses::default());
    let proxy = stage.proxy().await;
    proxy
        .put("todo-item:large:v:1", json!({"title": "a", "isDone": true}))
        .await;
    assert_eq!(proxy.get("todo-item:large:v:2").await["title"], "a");
    let parked = lot.entries(&stage).await;
    assert_eq!(
        (&parked[0]["error"], &parked[0]["target"]),
        (&json!("too_large"), &json!("todo-item:large:v:3"))
    );
    lot.end(stage).await;
}

#[tokio::test]
async fn what_does_not_fit_its_class_is_parked() {
    let (lot, mut stage) = Lot::of("schemas".as_ref()).await;
    stage.park(Pauses::default());
    let proxy = stage.proxy().await;
    proxy
        .put(
            "todo-item:k:v:1",
            json!({"schema": "todo-item", "version": 1, "title": 7, "isDone": true}),
        )
        .await;
    let parked = lot.entries(&stage).await;
    assert_eq!(parked.len(), 1, "{parked:?}");
    assert_eq!(
        (&parked[0]["error"], &parked[0]["place"]),
        (&json!("schema"), &json!("/title (/properties/title/type)"))
    );
    lot.end(stage).await;
}

#[tokio::test]
async fn an_upstream_that_is_not_well_parks_nothing() {
    let answers = Arc::new(AtomicUsize::new(0));
    let sick = answers.clone();
    let (lot, mut stage) = Lot::behind("schemas".as_ref(), move |request, mut inner| {
        let is_own = is_own_write(&request);
        let nth = sick.fetch_add(usize::from(is_own), Ordering::Relaxed);
        async move {
            match (is_own, nth) {
                (true, 0) => Ok(says(503, r#"{"error":"service_unavailable","reason":"later"}"#)),
                (true, 1) => Ok(says(
                    201,
                    r#"[{"id":"todo-item:b:v:3","rev":"1-a","error":"timeout","reason":"later"}]"#,
                )),
                (true, 2) => Ok(says(401, r#"{"error":"unauthorized","reason":"who are you?"}"#)),
                _ => inner.call(request).await,
            }
        }
    })
    .await;
    stage.park(Pauses::default());
    let proxy = stage.proxy().await;
    for key in ["a", "b", "c"] {
        proxy
            .put(&format!("todo-item:{key}:v:1"), json!({"title": key, "isDone": true}))
            .await;
    }
    stage.ended().await;
    assert_eq!(answers.load(Ordering::Relaxed), 3);
    let there = stage.direct().ask_server("GET", &lot.db, "").await;
    assert_eq!(there.status, StatusCode::NOT_FOUND, "{there:?}");
    lot.end(stage).await;
}

/// As CouchDB answers an account that makes a database.
fn no_admin() -> Response<Body> {
    says(
        401,
        r#"{"error":"unauthorized","reason":"You are not a server admin."}"#,
    )
}

#[tokio::test]
async fn an_account_that_may_not_park_fails_no_write() {
    let name = Lot::name();
    let path = format!("/{name}");
    let (lot, mut stage) = Lot::called(name, &scripts(), move |request, mut inner| {
        let is_refused = request.uri().path() == path && request.method() == "PUT";
        async move {
            if is_refused {
                return Ok(no_admin());
            }
            inner.call(request).await
        }
    })
    .await;
    stage.park(SHORT);
    let proxy = stage.proxy().await;
    let docs = ["Ada Lovelace", "Ada"].map(person);
    let answer = proxy
        .ask("POST", "_bulk_docs", json!({ "docs": docs }).to_string())
        .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(proxy.get("person:Ada%20Lovelace:v:2").await["last"], "Lovelace");
    lot.end(stage).await;
}

#[tokio::test]
async fn the_database_is_made_again() {
    let (lot, mut stage) = Lot::of(&scripts()).await;
    stage.park(Pauses::default());
    let proxy = stage.proxy().await;
    proxy.put("person:a:v:1", person("Ada")).await;
    let gone = stage.direct().ask_server("DELETE", &lot.db, "").await;
    assert_eq!(gone.status, StatusCode::OK);
    proxy.put("person:b:v:1", person("Bea")).await;
    // This process remembers a revision of what is not there any more. CouchDB 3.5.0 answers with a conflict, or takes it as if it had
    // been there, if the database is not empty.
    let edit =
        json!({"_rev": proxy.rev("person:a:v:1").await, "schema": "person", "version": 1, "name": "Ada", "n": 2});
    proxy.put("person:a:v:1", edit).await;
    let parked = lot.entries(&stage).await;
    let keys: Vec<&Value> = parked.iter().map(|entry| &entry["key"]).collect();
    assert_eq!(keys, ["a", "b"]);
    let security = stage
        .direct()
        .ask_server("GET", &format!("{}/_security", lot.db), "")
        .await;
    assert_eq!(security.body["members"]["roles"], json!(["_admin"]));
    lot.end(stage).await;
}

#[tokio::test]
async fn what_belongs_to_a_deleted_database_is_parked_no_longer() {
    let (lot, mut stage) = Lot::of(&scripts()).await;
    stage.park(SHORT);
    let proxy = stage.proxy().await;
    proxy.put("person:k:v:1", person("Ada")).await;
    assert_eq!(lot.entries(&stage).await.len(), 1);
    stage.direct().ask("DELETE", "", "").await;
    lot.until_empty(&stage).await;
    lot.end(stage).await;
}

#[tokio::test]
async fn proxies_park_the_same_entity_as_one() {
    let (lot, mut stage) = Lot::of(&scripts()).await;
    stage.park(Pauses::default());
    let (a, b) = (stage.proxy().await, stage.proxy().await);
    let mut rev = a.put("person:k:v:1", person("Ada")).await;
    let first = lot.entries(&stage).await[0]["first"].clone();
    for n in 2..6 {
        let proxy = if n % 2 == 0 { &b } else { &a };
        let edit = json!({"_rev": rev, "schema": "person", "version": 1, "name": "Ada", "n": n});
        rev = proxy.put("person:k:v:1", edit).await;
        let parked = lot.entries(&stage).await;
        assert_eq!(
            (parked.len(), &parked[0]["attempts"], &parked[0]["first"]),
            (1, &json!(n), &first)
        );
    }
    lot.end(stage).await;
}

#[tokio::test]
async fn who_follows_parks_and_passes_nothing_that_cannot_be_parked() {
    let (name, refuses) = (Lot::name(), Arc::new(AtomicBool::new(true)));
    let (path, refused, times) = (format!("/{name}"), refuses.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = times.clone();
    let (lot, mut stage) = Lot::called(name, &scripts(), move |request, mut inner| {
        let is_made = request.uri().path() == path && request.method() == "PUT";
        let is_refused = is_made && refused.load(Ordering::Relaxed);
        // Three times in vain, and then it may be made.
        if is_refused && counted.fetch_add(1, Ordering::Relaxed) == 2 {
            refused.store(false, Ordering::Relaxed);
        }
        async move {
            if is_refused {
                return Ok(no_admin());
            }
            inner.call(request).await
        }
    })
    .await;
    stage.park(Pauses::default());
    let docs = ["Ada", "Ada Lovelace"].map(person);
    let direct = stage.direct();
    direct
        .ask("POST", "_bulk_docs", json!({ "docs": docs }).to_string())
        .await;
    let follower = stage.follow(|_| {});
    lot.until(&stage, |parked| parked.len() == 1).await;
    assert_eq!(lot.entries(&stage).await[0]["target"], "person:Ada:v:2");
    assert_eq!(times.load(Ordering::Relaxed), 3);
    assert_eq!(direct.get("person:Ada%20Lovelace:v:2").await["last"], "Lovelace");
    stage.stop_following();
    follower.ended().await;
    lot.end(stage).await;
}

/// More than a page.
const MANY: usize = 450;

#[tokio::test]
async fn of_two_proxies_one_tries_each_entity() {
    // Both read a page before either claims it.
    let (tried, looks, both) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(2)),
        Arc::new(Barrier::new(2)),
    );
    let (trying, looking) = (tried.clone(), looks.clone());
    let (lot, mut stage) = Lot::behind(&scripts(), move |request, mut inner| {
        let (tried, looks, both) = (trying.clone(), looking.clone(), both.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let path = head.uri.path().to_owned();
            if path.ends_with("_bulk_get") {
                let asked = String::from_utf8_lossy(&body).matches(":v:1\"").count();
                // A person and its card.
                tried.fetch_add(asked / 2, Ordering::Relaxed);
            }
            let request = http::Request::from_parts(head, chesterfield::upstream::body::full(body));
            let answer = inner.call(request).await;
            if path.ends_with("_all_docs") && looks.fetch_add(1, Ordering::Relaxed) < 2 {
                both.wait().await;
            }
            answer
        }
    })
    .await;
    stage.park(Pauses::default());
    let proxy = stage.proxy().await;
    let docs: Vec<Value> = (0..MANY).map(|n| person(&format!("n{n}"))).collect();
    let answer = proxy
        .ask("POST", "_bulk_docs", json!({ "docs": docs }).to_string())
        .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(lot.entries(&stage).await.len(), MANY);
    stage.ended().await;

    // Other schemas, that are none the better.
    let schemas = mended();
    let text = std::fs::read_to_string(scripts().join("lenses/names.js")).unwrap();
    std::fs::write(schemas.path().join("lenses/names.js"), text + "// Looked at.\n").unwrap();
    stage.schemas(schemas.path());
    tried.store(0, Ordering::Relaxed);
    looks.store(0, Ordering::Relaxed);
    stage.proxy().await;
    stage.proxy().await;
    lot.until(&stage, |parked| parked.iter().all(|entry| entry["attempts"] == 2))
        .await;
    stage.ended().await;
    assert_eq!(tried.load(Ordering::Relaxed), MANY);

    let schemas = mended();
    stage.schemas(schemas.path());
    let proxy = stage.proxy().await;
    lot.until_empty(&stage).await;
    assert_eq!(
        proxy.get(&format!("person:n{}:v:2", MANY - 1)).await["last"],
        format!("n{}", MANY - 1)
    );
    lot.end(stage).await;
}

#[tokio::test]
async fn what_people_write_into_the_database_does_no_harm() {
    let (lot, mut stage) = Lot::of(&scripts()).await;
    stage.park(Pauses {
        first: Duration::from_millis(10),
        longest: Duration::from_secs(3600),
    });
    let proxy = stage.proxy().await;
    proxy.put("person:k:v:1", person("Ada")).await;
    let direct = stage.direct();
    for odd in ["parked:", "parked:x", "parked:x:y", "note", "lease:1"] {
        let answer = direct
            .ask_server("PUT", &format!("{}/{odd}", lot.db), r#"{"db": 7}"#)
            .await;
        assert_eq!(answer.status, StatusCode::CREATED);
    }
    // Tried on and on, until it can be.
    lot.until(&stage, |parked| {
        parked.iter().any(|entry| entry["attempts"].as_u64() > Some(3))
    })
    .await;
    stage.ended().await;
    let schemas = mended();
    stage.schemas(schemas.path());
    let proxy = stage.proxy().await;
    lot.until(&stage, |parked| !parked.iter().any(|entry| entry["key"] == "k"))
        .await;
    assert_eq!(proxy.get("person:k:v:2").await["last"], "Ada");
    lot.end(stage).await;
}
