//! A device with an app on it: a small replicating client, which asks for what PouchDB asks for.
//!
//! It keeps revision trees, checkpoints on both ends, and goes on from them; it writes with `new_edits: false`, and knows an edit to be
//! acknowledged when `_bulk_docs` or `_revs_diff` says so. Beside that it may write a document straight to the server, as web pages do.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};

use crate::{
    stage::Asking,
    tree::{Body, Rev, Tree, generation},
};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Changes read at once, and documents written.
const PAGE: usize = 10;

/// Something did not come through; it is tried again.
#[derive(Debug)]
pub struct Lost(pub String);

/// A way to a server.
#[derive(Clone)]
pub struct Line {
    /// Of the database.
    url: String,
    authorization: Option<String>,
    app: Option<String>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An edit that a person made.
#[derive(Clone, Debug)]
pub struct Edit {
    pub id: String,
    pub rev: Rev,
    /// A server has said that it has it.
    pub is_acknowledged: bool,
}

pub struct Device {
    pub version: u64,
    name: String,
    line: Line,
    pub trees: BTreeMap<String, Tree>,
    /// What was written here, whoever wrote it first: the device's own feed of changes.
    log: Vec<String>,
    /// How much of it a server has, and up to where its feed was read.
    pushed: usize,
    pulled: Value,
    pub edits: Vec<Edit>,
    rng: fastrand::Rng,
}

impl Line {
    /// As this app; without one it declares nothing.
    pub fn new(to: &Asking, app: Option<String>) -> Self {
        Self {
            url: to.url(),
            authorization: to.authorization().map(str::to_owned),
            app,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// `path` is below the database. Whatever breaks on the way is told as lost, and so are failures that are not the client's.
    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<(StatusCode, Value), Lost> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/{path}", self.url))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json");
        if let Some(account) = &self.authorization {
            request = request.header(header::AUTHORIZATION, account);
        }
        if let Some(app) = &self.app {
            request = request.header("app-version", app);
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = request.body(Full::new(body.into())).unwrap();
        let answered = async {
            let answer = self.client.request(request).await.map_err(|error| error.to_string())?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok::<_, String>((head.status, body))
        };
        let lost = |why: String| Lost(format!("{method} {path}: {why}"));
        let answered = tokio::time::timeout(PATIENCE, answered).await;
        let (status, body) = answered.unwrap_or_else(|_| Err("silence".into())).map_err(lost)?;
        let is_failure =
            status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE);
        if is_failure {
            return Err(lost(format!("{status} {}", String::from_utf8_lossy(&body))));
        }
        let parsed = serde_json::from_slice(&body).map_err(|error| lost(error.to_string()))?;
        Ok((status, parsed))
    }

    async fn expect(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Lost> {
        match self.ask(method, path, body).await? {
            (status, answer) if status.is_success() => Ok(answer),
            (status, answer) => Err(Lost(format!("{method} {path}: {status} {answer}"))),
        }
    }
}

impl Device {
    pub fn new(name: String, version: u64, seed: u64, proxy: &Asking) -> Self {
        Self {
            version,
            name,
            line: Line::new(proxy, Some(Self::app(version))),
            trees: BTreeMap::new(),
            log: Vec::new(),
            pushed: 0,
            pulled: json!("0"),
            edits: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    fn app(version: u64) -> String {
        let minor = if version == 1 { 2 } else { 0 };
        format!("todo-app@{version}.{minor}.0")
    }

    /// Goes by another proxy from now on.
    pub fn go_by(&mut self, proxy: &Asking) {
        self.line = Line::new(proxy, Some(Self::app(self.version)));
    }

    pub fn shown(&self, id: &str) -> Option<&Value> {
        self.trees.get(id)?.shown()
    }

    /// Writes on top of what it shows, as PouchDB does; none: it deletes.
    pub fn write(&mut self, id: &str, body: Option<Value>) {
        let winner = self.trees.get(id).and_then(Tree::winner).map(str::to_owned);
        self.write_on(id, winner, body);
    }

    /// Deletes whatever is in conflict with what it shows.
    pub fn resolve(&mut self, id: &str) {
        let Some(tree) = self.trees.get(id) else { return };
        let mut losers = tree.live();
        losers.remove(tree.winner().unwrap_or_default());
        let losers: Vec<Rev> = losers.into_iter().map(str::to_owned).collect();
        for loser in losers {
            self.write_on(id, Some(loser), None);
        }
    }

    fn write_on(&mut self, id: &str, parent: Option<Rev>, body: Option<Value>) {
        let tree = self.trees.entry(id.to_owned()).or_default();
        let parents = parent.iter().flat_map(|rev| tree.path(rev));
        let parents: Vec<Rev> = parents.map(str::to_owned).collect();
        let next = parents.first().map_or(0, |rev| generation(rev)) + 1;
        let rev = format!("{next}-{:032x}", self.rng.u128(..));
        let path: Vec<Rev> = std::iter::once(rev.clone()).chain(parents).collect();
        tree.add(&path, body.map_or(Body::Deleted, Body::Live));
        self.log.push(id.to_owned());
        self.edits.push(Edit {
            id: id.to_owned(),
            rev,
            is_acknowledged: false,
        });
    }

    /// Writes to the server, on top of what the device shows of a document.
    pub async fn put(&mut self, id: &str, mut body: Value) -> Result<(), Lost> {
        if let Some(winner) = self.trees.get(id).and_then(Tree::winner) {
            body["_rev"] = json!(winner);
        }
        let (status, answer) = self.line.ask("PUT", id, Some(body)).await?;
        if status.is_success() {
            self.edits.push(Edit {
                id: id.to_owned(),
                rev: answer["rev"].as_str().unwrap().to_owned(),
                is_acknowledged: true,
            });
        }
        Ok(())
    }

    /// Sends what is new here.
    pub async fn push(&mut self) -> Result<(), Lost> {
        let local = format!("_local/{}-push", self.name);
        let kept = self.checkpoint(&local).await?;
        // Where both ends agree; or from the beginning.
        if kept["last_seq"] != json!(self.pushed) {
            self.pushed = 0;
        }
        let mut rev = kept["_rev"].clone();
        while self.pushed < self.log.len() {
            let next = (self.pushed + PAGE).min(self.log.len());
            let ids: BTreeSet<String> = self.log[self.pushed..next].iter().cloned().collect();
            let asked: BTreeMap<&str, BTreeSet<&str>> =
                ids.iter().map(|id| (id.as_str(), self.trees[id].leaves())).collect();
            let missing = self.line.expect("POST", "_revs_diff", Some(json!(asked))).await?;
            let mut documents = Vec::new();
            for (id, leaves) in &asked {
                let missing = missing[*id]["missing"].as_array();
                let missing: Vec<&str> = missing.into_iter().flatten().filter_map(Value::as_str).collect();
                let lacked = leaves.iter().filter(|rev| missing.contains(rev));
                documents.extend(lacked.map(|rev| self.trees[*id].document(id, rev)));
            }
            if !documents.is_empty() {
                let batch = json!({"new_edits": false, "docs": documents});
                let rows = self.line.expect("POST", "_bulk_docs", Some(batch)).await?;
                let failed = rows
                    .as_array()
                    .into_iter()
                    .flatten()
                    .find(|row| row.get("error").is_some());
                if let Some(row) = failed {
                    return Err(Lost(format!("_bulk_docs: {row}")));
                }
            }
            for edit in self.edits.iter_mut().filter(|edit| ids.contains(&edit.id)) {
                let tree = &self.trees[&edit.id];
                edit.is_acknowledged |= tree
                    .leaves()
                    .iter()
                    .any(|leaf| tree.path(leaf).contains(&edit.rev.as_str()));
            }
            rev = self.note(&local, rev, json!(next)).await?;
            self.pushed = next;
        }
        Ok(())
    }

    /// Gets what is new there.
    pub async fn pull(&mut self) -> Result<(), Lost> {
        let local = format!("_local/{}-pull", self.name);
        let kept = self.checkpoint(&local).await?;
        if kept["last_seq"] != self.pulled {
            self.pulled = json!("0");
        }
        let mut rev = kept["_rev"].clone();
        loop {
            let since = match &self.pulled {
                Value::String(seq) => seq.clone(),
                other => other.to_string(),
            };
            let path = format!("_changes?style=all_docs&limit={PAGE}&since={since}");
            let page = self.line.expect("GET", &path, None).await?;
            let rows = page["results"].as_array().cloned().unwrap_or_default();
            let wanted: Vec<Value> = rows.iter().flat_map(|row| self.lacked(row)).collect();
            if !wanted.is_empty() {
                let body = json!({"docs": wanted});
                let read = self
                    .line
                    .expect("POST", "_bulk_get?revs=true&latest=true", Some(body))
                    .await?;
                let results = read["results"].as_array().cloned().unwrap_or_default();
                for document in results
                    .iter()
                    .flat_map(|result| result["docs"].as_array().into_iter().flatten())
                {
                    let Some(found) = document.get("ok") else {
                        return Err(Lost(format!("_bulk_get: {document}")));
                    };
                    let id = found["_id"].as_str().unwrap().to_owned();
                    if self.trees.entry(id.clone()).or_default().insert(found) {
                        self.log.push(id);
                    }
                }
            }
            let is_moved = page["last_seq"] != self.pulled;
            if is_moved {
                rev = self.note(&local, rev, page["last_seq"].clone()).await?;
                self.pulled = page["last_seq"].clone();
            }
            if rows.is_empty() || !is_moved {
                return Ok(());
            }
        }
    }

    fn lacked(&self, row: &Value) -> Vec<Value> {
        let id = row["id"].as_str().unwrap();
        let changes = row["changes"].as_array().unwrap().iter();
        let revs = changes.filter_map(|change| change["rev"].as_str());
        let is_known = |rev: &str| self.trees.get(id).is_some_and(|tree| tree.has(rev));
        // The proxies' own documents are nothing to a device.
        let lacked = revs.filter(|rev| !id.starts_with('_') && !is_known(rev));
        lacked.map(|rev| json!({"id": id, "rev": rev})).collect()
    }

    async fn checkpoint(&self, local: &str) -> Result<Value, Lost> {
        match self.line.ask("GET", local, None).await? {
            (StatusCode::NOT_FOUND, _) => Ok(Value::Null),
            (status, kept) if status.is_success() => Ok(kept),
            (status, kept) => Err(Lost(format!("{local}: {status} {kept}"))),
        }
    }

    /// Answers the revision of the checkpoint.
    async fn note(&self, local: &str, rev: Value, seq: Value) -> Result<Value, Lost> {
        let mut body = json!({"last_seq": seq, "session_id": self.name});
        if !rev.is_null() {
            body["_rev"] = rev;
        }
        let noted = self.line.expect("PUT", local, Some(body)).await?;
        Ok(noted["rev"].clone())
    }
}
