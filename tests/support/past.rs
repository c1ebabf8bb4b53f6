//! Todos as they are written past every proxy, and what is asked of an upstream meanwhile.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::sync::{Arc, Mutex};

use chesterfield::upstream::{Body, Error, UpstreamService, body::full};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::{Service, service_fn};

use super::stage::{Asking, Stage};

/// A todo in version 1.
pub fn todo(title: &str) -> Value {
    json!({"schema": "todo-item", "version": 1, "title": title, "isDone": false})
}

/// The ids of a todo in all versions; version 1 comes first.
pub fn ids(key: &str) -> [String; 4] {
    [1, 2, 3]
        .map(|version| format!("todo-item:{key}:v:{version}"))
        .into_iter()
        .chain([format!("todo-item-status:{key}:v:1")])
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

/// Whether every version of a todo is there, with this title.
pub async fn is_everywhere(couch: &Asking, key: &str, title: &str) -> bool {
    let [one, two, three, status] = ids(key);
    for id in [one, two, three] {
        if couch.get(&id).await["title"] != title {
            return false;
        }
    }
    couch.get(&status).await["status"] == "active"
}

/// An upstream with something in between.
pub fn wrap<F, Fut>(inner: UpstreamService, act: F) -> UpstreamService
where
    F: Fn(Request<Body>, UpstreamService) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Body>, Error>> + Send + 'static,
{
    UpstreamService::new(service_fn(move |request| act(request, inner.clone())))
}

fn failure() -> Response<Body> {
    let mut answer = Response::new(full(r#"{"error":"internal_server_error","reason":"a test"}"#));
    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    answer
}

/// What the account asks an upstream for: path and query, and the body.
pub type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// Notes every request, and fails those whose path and body `fails` picks.
pub fn noting(
    asked: Asked,
    fails: impl Fn(&str, &str) -> bool + Clone + Send + Sync + 'static,
) -> impl FnOnce(UpstreamService) -> UpstreamService {
    move |inner| {
        wrap(inner, move |request, mut inner| {
            let (asked, fails) = (asked.clone(), fails.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let path = head.uri.to_string();
                let text = String::from_utf8_lossy(&body).into_owned();
                let is_failed = fails(&path, &text);
                asked.lock().unwrap().push((path, text));
                if is_failed {
                    return Ok(failure());
                }
                inner.call(Request::from_parts(head, full(body))).await
            }
        })
    }
}

/// Those of the requests whose path holds this; they are forgotten with all others.
pub fn taken(asked: &Asked, what: &str) -> Vec<(String, String)> {
    let all = std::mem::take(&mut *asked.lock().unwrap());
    all.into_iter().filter(|(path, _)| path.contains(what)).collect()
}

/// What is kept of how far the database was followed.
pub async fn checkpoint(stage: &Stage) -> Value {
    stage.direct().get("_local/chesterfield").await
}
