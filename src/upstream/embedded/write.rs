//! Writing: edits are planned on the leaves they extend, replicated revisions are merged as they are.

use std::collections::{HashMap, HashSet};

use base64::{Engine, prelude::BASE64_STANDARD};
use rouchdb_core::document::{AttachmentMeta, BulkDocsOptions, Document, GetOptions, Revision};
use serde_json::{Value, json};

use super::{
    attachments::Input,
    database::Database,
    edit::{Edit, Revs},
    respond::Failure,
    rev_hash::{HashedAttachment, new_rev_hash},
    store::new_uuid,
};

/// What became of one document of a write.
pub struct Row {
    pub id: String,
    /// The revision written, or for a replicated one that was refused, the one that was sent.
    pub rev: String,
    pub failure: Option<Failure>,
}

/// The leaves an edit may extend.
struct Leaves {
    revs: Vec<String>,
    /// Whether the winner is: then the document is gone.
    deleted: bool,
}

impl Database {
    /// `new_edits: true`: each edit extends a leaf or is a conflict. Durable when it returns.
    pub async fn edit(&self, mut edits: Vec<Edit>) -> Result<Vec<Row>, Failure> {
        for edit in edits.iter_mut().filter(|edit| edit.id.is_empty()) {
            edit.id = new_uuid();
        }
        let _edits = self.edits.lock().await;
        let known = self.editable(&edits).await?;
        let mut taken = HashSet::new();
        let mut rows = Vec::with_capacity(edits.len());
        let mut documents = Vec::new();
        for edit in edits {
            let mut row = Row {
                id: edit.id.clone(),
                rev: String::new(),
                failure: None,
            };
            if edit.is_local() {
                row.rev = self.write_local(edit).await?;
            } else {
                let parent = parent_of(&edit, known.get(&edit.id));
                // Two edits of one leaf in one request: the first wins (bulk 5, 6).
                match parent.filter(|parent| taken.insert((edit.id.clone(), parent.as_ref().and_then(Revs::newest)))) {
                    Some(parent) => {
                        let document = self.plan(edit, parent).await?;
                        row.rev = document.rev.as_ref().map(ToString::to_string).unwrap_or_default();
                        documents.push(document);
                    }
                    None => row.failure = Some(Failure::conflict()),
                }
            }
            rows.push(row);
        }
        self.merge(documents).await?;
        Ok(rows)
    }

    /// One edit, its failure the request's.
    pub async fn edit_one(&self, edit: Edit) -> Result<Row, Failure> {
        let row = self.edit(vec![edit]).await?.pop().ok_or_else(Failure::conflict)?;
        row.failure.map_or(Ok(Row { failure: None, ..row }), Err)
    }

    /// `new_edits: false`: revisions are merged into the tree under their own names; what is there already stays.
    pub async fn replicate(&self, edits: Vec<Edit>) -> Result<Vec<Row>, Failure> {
        if edits
            .iter()
            .any(|edit| edit.revs.as_ref().and_then(Revs::newest).is_none())
        {
            let reason = "When `new_edits: false`, the document needs `_rev` or `_revisions` specified";
            return Err(Failure::bad_request(reason));
        }
        let _edits = self.edits.lock().await;
        let sent = |edit: &Edit| edit.revs.as_ref().and_then(Revs::newest).unwrap_or_default();
        let mut question: HashMap<String, Vec<String>> = HashMap::new();
        for edit in &edits {
            question.entry(edit.id.clone()).or_default().push(sent(edit));
        }
        let missing = self.adapter.revs_diff(question).await?.results;
        let mut rows = Vec::with_capacity(edits.len());
        let mut documents = Vec::new();
        for mut edit in edits {
            let rev = sent(&edit);
            rows.push(Row {
                id: edit.id.clone(),
                rev: rev.clone(),
                failure: None,
            });
            if edit.is_local() {
                self.write_local(edit).await?;
                continue;
            }
            // An ancestor that comes late is known by name and stays without a body (bulk 36, 37).
            if !missing.get(&edit.id).is_some_and(|diff| diff.missing.contains(&rev)) {
                continue;
            }
            if edit.id.is_empty() {
                edit.id = new_uuid();
            }
            let revs = edit.revs.take().ok_or_else(Failure::invalid_rev)?;
            let ancestors: Vec<String> = revs
                .ids
                .iter()
                .zip(0..)
                .skip(1)
                .map(|(hash, back)| format!("{}-{hash}", revs.start.saturating_sub(back)))
                .collect();
            let attachments = self.resolve(&edit.id, edit.attachments, &ancestors, None).await?;
            let body = Value::Object(edit.body);
            documents.push(replicated(edit.id, revs, edit.deleted, body, attachments));
        }
        self.merge(documents).await?;
        Ok(rows)
    }

    async fn editable(&self, edits: &[Edit]) -> Result<HashMap<String, Leaves>, Failure> {
        let ids = edits
            .iter()
            .filter(|edit| !edit.is_local())
            .map(|edit| edit.id.as_str());
        let mut known = HashMap::new();
        for (id, revs) in self.leaves(ids).await? {
            let winner = GetOptions {
                rev: revs.first().cloned(),
                ..GetOptions::default()
            };
            let deleted = self.adapter.get(&id, winner).await?.deleted;
            known.insert(id, Leaves { revs, deleted });
        }
        Ok(known)
    }

    /// The new revision: its attachments resolved, its hash made as CouchDB makes it.
    async fn plan(&self, edit: Edit, parent: Option<Revs>) -> Result<Document, Failure> {
        let start = parent.as_ref().map_or(0, |parent| parent.start);
        let parent_rev = parent.as_ref().and_then(Revs::newest);
        let names: Vec<String> = edit.attachments.iter().map(|(name, _)| name.clone()).collect();
        let attachments = self
            .resolve(&edit.id, edit.attachments, parent_rev.as_slice(), Some(start + 1))
            .await?;
        // `couch_db:new_revid` folds over the list, so the last attachment comes first.
        let digests: Vec<(&String, &AttachmentMeta, Vec<u8>)> = names
            .iter()
            .rev()
            .filter_map(|name| attachments.get(name).map(|meta| (name, meta, raw_digest(&meta.digest))))
            .collect();
        let hashed: Vec<_> = digests
            .iter()
            .map(|(name, meta, md5)| HashedAttachment {
                name,
                content_type: &meta.content_type,
                md5,
            })
            .collect();
        let newest = parent
            .as_ref()
            .and_then(|p| p.ids.first())
            .map(|hash| (start, hash.as_str()));
        let hash = new_rev_hash(edit.deleted, newest, &edit.body, &hashed);
        let ids = std::iter::once(hash)
            .chain(parent.into_iter().flat_map(|parent| parent.ids))
            .collect();
        let revs = Revs { start: start + 1, ids };
        Ok(replicated(
            edit.id,
            revs,
            edit.deleted,
            Value::Object(edit.body),
            attachments,
        ))
    }

    /// New bytes belong to the new generation, replicated ones to that they name.
    /// Stubs stand for what the nearest stored ancestor has under that name; CouchDB looks at nothing but the name and the generation in
    /// which it came, if that is told (3.5.0).
    async fn resolve(
        &self,
        id: &str,
        inputs: Vec<(String, Input)>,
        ancestors: &[String],
        new_generation: Option<u64>,
    ) -> Result<HashMap<String, AttachmentMeta>, Failure> {
        let has_stubs = inputs.iter().any(|(_, input)| matches!(input, Input::Stub { .. }));
        let mut inherited = HashMap::new();
        for ancestor in ancestors.iter().filter(|_| has_stubs) {
            let options = GetOptions {
                rev: Some(ancestor.clone()),
                ..GetOptions::default()
            };
            if let Ok(document) = self.adapter.get(id, options).await {
                inherited = document.attachments;
                break;
            }
        }
        let mut attachments = HashMap::new();
        for (name, input) in inputs {
            let meta = match input {
                Input::Data {
                    content_type,
                    bytes,
                    revpos,
                } => {
                    let revpos = new_generation.or(revpos).unwrap_or_default();
                    AttachmentMeta {
                        revpos,
                        ..AttachmentMeta::new(content_type, bytes)
                    }
                }
                Input::Stub { revpos } => inherited
                    .get(&name)
                    .filter(|meta| revpos.is_none_or(|revpos| revpos == meta.revpos))
                    .cloned()
                    .ok_or_else(|| Failure::missing_stub(id, &name))?,
                Input::Follows { .. } => {
                    return Err(Failure::bad_request(format!("Invalid attachment data for {name}")));
                }
            };
            attachments.insert(name, meta);
        }
        Ok(attachments)
    }

    /// `_local` documents have no MVCC: whatever revision is sent, the next one is stored (local_and_replication 9-13).
    async fn write_local(&self, edit: Edit) -> Result<String, Failure> {
        let rev = edit
            .revs
            .and_then(|revs| Some(Revision::new(revs.start, revs.ids.into_iter().next()?)));
        let document = Document {
            id: edit.id,
            rev,
            deleted: edit.deleted,
            data: edit.body.into(),
            ..Document::default()
        };
        let mut results = self.adapter.bulk_docs(vec![document], BulkDocsOptions::new()).await?;
        let result = results.pop().ok_or_else(Failure::conflict)?;
        if result.ok {
            Ok(result.rev.unwrap_or_default())
        } else {
            Err(result.into())
        }
    }

    async fn merge(&self, mut documents: Vec<Document>) -> Result<(), Failure> {
        if documents.is_empty() {
            return Ok(());
        }
        // CouchDB writes a batch in the order of its ids, which is that of the changes.
        documents.sort_by(|a, b| a.id.cmp(&b.id));
        let results = self
            .adapter
            .bulk_docs(documents, BulkDocsOptions::replication())
            .await?;
        results
            .into_iter()
            .find(|result| !result.ok)
            .map_or(Ok(()), |refused| Err(refused.into()))
    }
}

/// What the edit builds on: `Some(None)` is a new document, `None` a conflict.
fn parent_of(edit: &Edit, known: Option<&Leaves>) -> Option<Option<Revs>> {
    let named = edit.revs.as_ref().filter(|revs| !revs.ids.is_empty());
    match (known, named) {
        (None, None) => Some(None),
        // CouchDB 3.5 lets `_revisions` found a document, but not `_rev` (documents 6, 104).
        (None, Some(revs)) => (revs.ids.len() > 1).then(|| Some(revs.clone())),
        // A deleted document is revived without naming a revision; naming its tombstone is a conflict (documents 64, 68).
        (Some(leaves), None) => {
            let winner = leaves.revs.first().filter(|_| leaves.deleted && !edit.deleted)?;
            Revs::parse(winner).ok().map(Some)
        }
        (Some(leaves), Some(revs)) => {
            let is_leaf = revs.newest().is_some_and(|rev| leaves.revs.contains(&rev));
            (is_leaf && !leaves.deleted).then(|| Some(revs.clone()))
        }
    }
}

fn replicated(
    id: String,
    revs: Revs,
    deleted: bool,
    mut data: Value,
    attachments: HashMap<String, AttachmentMeta>,
) -> Document {
    let rev = revs.ids.first().map(|hash| Revision::new(revs.start, hash.clone()));
    // A path of one needs no `_revisions`, and of generation 0 could not have it (bulk 62).
    if revs.ids.len() > 1 {
        data["_revisions"] = json!({"start": revs.start, "ids": revs.ids});
    }
    Document {
        id,
        rev,
        deleted,
        data,
        attachments,
    }
}

/// `md5-<base64>` as bytes.
fn raw_digest(digest: &str) -> Vec<u8> {
    BASE64_STANDARD
        .decode(digest.trim_start_matches("md5-"))
        .unwrap_or_default()
}
