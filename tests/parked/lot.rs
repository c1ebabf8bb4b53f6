//! A database for parked entities of each test's own, and what stands between the proxies and the store.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use chesterfield::{
    parked::Pauses,
    upstream::{self, Body, UpstreamService, body::full},
};
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::{Service as _, service_fn};

use crate::stage::Stage;

/// Pauses that nobody notices.
pub const SHORT: Pauses = Pauses {
    first: Duration::from_millis(20),
    longest: Duration::from_millis(20),
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where proxies park, instead of `chesterfield`: on a server that is there for more than one test, that belongs to all.
pub struct Lot {
    pub db: String,
}

static LOTS: AtomicUsize = AtomicUsize::new(0);

impl Lot {
    pub fn name() -> String {
        let n = LOTS.fetch_add(1, Ordering::Relaxed);
        format!("chesterfield-lot-{}-{n}", std::process::id())
    }

    /// A stage with schemas of its own.
    pub async fn of(schemas: &Path) -> (Self, Stage) {
        Self::behind(schemas, |request, mut inner| async move { inner.call(request).await }).await
    }

    /// The same, with something in between.
    pub async fn behind<F, Fut>(schemas: &Path, act: F) -> (Self, Stage)
    where
        F: Fn(Request<Body>, UpstreamService) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<Body>, upstream::Error>> + Send + 'static,
    {
        Self::called(Self::name(), schemas, act).await
    }

    pub async fn called<F, Fut>(db: String, schemas: &Path, act: F) -> (Self, Stage)
    where
        F: Fn(Request<Body>, UpstreamService) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Response<Body>, upstream::Error>> + Send + 'static,
    {
        let name = db.clone();
        let stage = Stage::build(schemas, move |inner| {
            UpstreamService::new(service_fn(move |mut request: Request<Body>| {
                let uri = request.uri().to_string();
                if let Some(rest) = uri.strip_prefix("/chesterfield")
                    && (rest.is_empty() || rest.starts_with(['/', '?']))
                {
                    *request.uri_mut() = format!("/{name}{rest}").parse().unwrap();
                }
                act(request, inner.clone())
            }))
        });
        (Self { db }, stage.await)
    }

    /// Everything that is parked.
    pub async fn entries(&self, stage: &Stage) -> Vec<Value> {
        let path = format!("{}/_all_docs?include_docs=true", self.db);
        let rows = stage.direct().ask_server("GET", &path, "").await.body["rows"].take();
        let documents = rows.as_array().cloned().unwrap_or_default();
        documents.into_iter().map(|mut row| row["doc"].take()).collect()
    }

    /// Waits until what is parked is as it should be.
    pub async fn until(&self, stage: &Stage, is_so: impl Fn(&[Value]) -> bool) {
        let wait = async {
            let direct = stage.direct();
            loop {
                // One that is not there yet has no changes to wait for.
                let seq = direct.ask_server("GET", &self.db, "").await.body["update_seq"].take();
                if is_so(&self.entries(stage).await) {
                    return;
                }
                if seq.is_null() {
                    tokio::task::yield_now().await;
                    continue;
                }
                let seq = seq.as_str().map_or_else(|| seq.to_string(), str::to_owned);
                let path = format!("{}/_changes?feed=longpoll&limit=1&since={seq}", self.db);
                direct.ask_server("GET", &path, "").await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("it does not come to that: {:#?}", self.entries(stage).await);
        }
    }

    pub async fn until_empty(&self, stage: &Stage) {
        self.until(stage, <[Value]>::is_empty).await;
    }

    /// Ends the stage, and deletes what was parked.
    pub async fn end(self, mut stage: Stage) {
        stage.ended().await;
        stage.direct().ask_server("DELETE", &self.db, "").await;
        stage.end().await;
    }
}

/// Schemas whose script fails at persons with one name only.
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/schemas")
}

/// The same, with a script that takes one name for the last.
pub fn mended() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&scripts(), folder.path());
    let script = folder.path().join("lenses/names.js");
    let text = std::fs::read_to_string(&script).unwrap();
    let better = text.replace(
        "if (at < 0) throw new Error(`“${name}” is only one name`);",
        "if (at < 0) return ['', name];",
    );
    assert_ne!(text, better);
    std::fs::write(script, better).unwrap();
    folder
}

/// Copies a folder and all that is in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

pub fn person(name: &str) -> Value {
    json!({"_id": format!("person:{name}:v:1"), "schema": "person", "version": 1, "name": name})
}

/// An answer of the upstream.
pub fn says(status: u16, body: &'static str) -> Response<Body> {
    let mut answer = Response::new(full(body));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

/// Whether the proxy writes derived revisions by this request.
pub fn is_own_write(request: &Request<Body>) -> bool {
    request.uri().path().ends_with("/_bulk_docs") && !request.uri().path().contains("chesterfield-lot-")
}

/// Refuses titles in version 3 of a todo as a `validate_doc_update` does. The embedded store has no such functions; a CouchDB is left
/// to itself.
pub fn refusing(
    refuses: Arc<AtomicBool>,
) -> impl Fn(Request<Body>, UpstreamService) -> BoxFuture<'static, Result<Response<Body>, upstream::Error>>
+ Clone
+ Send
+ Sync {
    let is_embedded = std::env::var("COUCHDB_URL").is_err();
    move |request, mut inner| {
        let refuses = is_embedded && refuses.load(Ordering::Relaxed) && is_own_write(&request);
        Box::pin(async move {
            if !refuses {
                return inner.call(request).await;
            }
            let (mut head, body) = request.into_parts();
            let mut batch: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
            if batch["new_edits"] != false {
                return inner.call(Request::from_parts(head, full(batch.to_string()))).await;
            }
            let docs = batch["docs"].as_array_mut().unwrap();
            let is_refused =
                |doc: &Value| doc["_id"].as_str().unwrap().ends_with(":v:3") && doc["title"] == "forbidden";
            let refused: Vec<Value> = docs.extract_if(.., |doc| is_refused(doc)).collect();
            head.headers.remove("content-length");
            let (head, body) = inner
                .call(Request::from_parts(head, full(batch.to_string())))
                .await?
                .into_parts();
            let mut rows: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
            rows.as_array_mut().unwrap().extend(refused.iter().map(
                |doc| json!({"id": doc["_id"], "rev": doc["_rev"], "error": "forbidden", "reason": "no such title"}),
            ));
            Ok(Response::from_parts(head, full(rows.to_string())))
        })
    }
}
