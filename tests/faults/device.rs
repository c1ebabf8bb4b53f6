//! A device with an app on it: a small replicating client, which asks for what PouchDB asks for.
//!
//! It keeps revision trees, checkpoints on both ends, and goes on from them; it writes with `new_edits: false`, and knows an edit to be
//! acknowledged when `_bulk_docs` or `_revs_diff` says so. Beside that it may write a document straight to the server, as web pages do.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    app::App,
    line::{Line, Lost},
    stage::Asking,
    tree::{Body, Rev, Tree, generation},
};

/// Changes read at once, and documents written.
const PAGE: usize = 10;

/// An edit that a person made.
#[derive(Clone, Debug)]
pub struct Edit {
    pub id: String,
    pub rev: Rev,
    /// A server has said that it has it.
    pub is_acknowledged: bool,
}

pub struct Device {
    /// Of the app, from 1.
    pub version: usize,
    pub app: App,
    name: String,
    pub line: Line,
    pub trees: BTreeMap<String, Tree>,
    /// What was written here, whoever wrote it first: the device's own feed of changes.
    log: Vec<String>,
    /// How much of it a server has, and up to where its feed was read.
    pushed: usize,
    pulled: Value,
    pub edits: Vec<Edit>,
    /// What was written straight to the server, and may have come through or not.
    unsure: Option<(String, Value)>,
    /// How often its own write stood in the way when it was tried again.
    pub met_itself: usize,
    rng: fastrand::Rng,
}

impl Device {
    pub fn new(name: String, app: App, version: usize, seed: u64, proxy: &Asking) -> Self {
        Self {
            version,
            name,
            line: Line::new(proxy, Some(app.says(version)), seed),
            app,
            trees: BTreeMap::new(),
            log: Vec::new(),
            pushed: 0,
            pulled: json!("0"),
            edits: Vec::new(),
            unsure: None,
            met_itself: 0,
            rng: fastrand::Rng::with_seed(seed),
        }
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
        let (status, answer) = match self.line.ask("PUT", id, Some(body.clone())).await {
            Ok(answered) => answered,
            Err(lost) => {
                self.unsure = Some((id.to_owned(), body));
                return Err(lost);
            }
        };
        if status.is_success() {
            self.acknowledged(id, &answer["rev"]);
        }
        Ok(())
    }

    /// Writes once more what may not have come through. A conflict may be one with its own first attempt.
    pub async fn settle(&mut self) -> Result<(), Lost> {
        let Some((id, body)) = self.unsure.clone() else {
            return Ok(());
        };
        match self.line.ask("PUT", &id, Some(body.clone())).await? {
            (status, answer) if status.is_success() => self.acknowledged(&id, &answer["rev"]),
            (StatusCode::CONFLICT, _) => {
                let shown = self.line.ask("GET", &format!("{id}?revs=true"), None).await?.1;
                if let Some(rev) = first_attempt(&body, &shown) {
                    self.acknowledged(&id, &json!(rev));
                    self.met_itself += 1;
                }
            }
            _ => {}
        }
        self.unsure = None;
        Ok(())
    }

    pub fn is_unsure(&self) -> bool {
        self.unsure.is_some()
    }

    fn acknowledged(&mut self, id: &str, rev: &Value) {
        self.edits.push(Edit {
            id: id.to_owned(),
            rev: rev.as_str().unwrap().to_owned(),
            is_acknowledged: true,
        });
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
                    .expect("POST", "_bulk_get?revs=true&latest=true&attachments=true", Some(body))
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

/// The revision under which a document was written, if it is what is shown: nobody else writes the same.
fn first_attempt(written: &Value, shown: &Value) -> Option<Rev> {
    let fields = |body: &Value| -> Option<BTreeMap<String, Value>> {
        let fields = body.as_object()?.clone().into_iter();
        Some(fields.filter(|(name, _)| !name.starts_with('_')).collect())
    };
    let base = written["_rev"].as_str();
    let hashes = shown["_revisions"]["ids"].as_array()?;
    let start = shown["_revisions"]["start"].as_u64()?;
    let names = hashes.iter().zip((1..=start).rev());
    let path: Vec<Rev> = names
        .map(|(hash, n)| format!("{n}-{}", hash.as_str().unwrap()))
        .collect();
    let place = match base {
        Some(base) => path.iter().position(|rev| rev == base)?.checked_sub(1)?,
        None => path.iter().position(|rev| generation(rev) == 1)?,
    };
    (fields(written)? == fields(shown)?).then(|| path[place].clone())
}
