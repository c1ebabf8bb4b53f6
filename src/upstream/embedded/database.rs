//! One database: its storage, its identity, and reading documents as CouchDB shows them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use rouchdb_core::{
    adapter::{Adapter, ChangeNotice},
    document::{ChangesOptions, Document, GetOptions, SecurityDocument, Seq},
    error::RouchError,
};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::Receiver;

use super::{Error, attachments::Form, respond::Failure};

/// Asked for with `_revs_diff`, it is newer than any leaf: the answer's `possible_ancestors` are all leaves, winner first.
const NEWER_THAN_ALL: &str = "18446744073709551615-0";

pub struct Database {
    pub name: String,
    pub adapter: Box<dyn Adapter>,
    /// 32 hex digits, others after the database was deleted and made again.
    uuid: String,
    /// An edit is planned on the leaves it has read, so edits go one at a time. Async, for it waits for the disk.
    pub edits: tokio::sync::Mutex<()>,
    pub created: u64,
    /// The last answer of [`Database::count_after`].
    counted: Mutex<Counted>,
    /// Never read: the storage announces a write only if somebody listens before its commit, and a feed that is opened in
    /// between would miss it.
    _listener: Option<Receiver<ChangeNotice>>,
}

/// How many changes there are after `since`, as long as `update_seq` stands.
#[derive(Clone, Copy, Default)]
struct Counted {
    update_seq: u64,
    since: u64,
    count: u64,
}

/// What a reader wants to see of a document.
#[derive(Clone, Default)]
pub struct View {
    pub revs: bool,
    pub revs_info: bool,
    pub conflicts: bool,
    pub deleted_conflicts: bool,
    pub local_seq: bool,
    pub attachments: Form,
}

/// A document as read: its JSON, and what the JSON was made from.
pub struct Shown {
    pub json: Map<String, Value>,
    pub document: Document,
    /// Whether there is anything in it that depends on more than the revision: then it has no ETag.
    pub has_meta: bool,
}

impl Database {
    pub async fn open(name: &str, adapter: Box<dyn Adapter>) -> Result<Self, Error> {
        let uuid = adapter
            .id()
            .await?
            .chars()
            .filter(char::is_ascii_hexdigit)
            .take(32)
            .collect();
        let mut properties = adapter.get_security().await?;
        let created = match properties.extra.get("created").and_then(Value::as_u64) {
            Some(created) => created,
            None => {
                let created = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| since.as_secs());
                properties.extra.insert("created".into(), created.into());
                adapter.put_security(properties).await?;
                created
            }
        };
        Ok(Self {
            name: name.to_owned(),
            _listener: adapter.subscribe(),
            adapter,
            uuid,
            edits: tokio::sync::Mutex::default(),
            created,
            counted: Mutex::default(),
        })
    }

    /// The `_security` object as it was put: the storage would normalise it, so it is kept whole beside its fields.
    pub async fn security(&self) -> Result<Value, Failure> {
        let mut properties = self.adapter.get_security().await?;
        let fresh = || json!({"members": {"roles": ["_admin"]}, "admins": {"roles": ["_admin"]}});
        Ok(properties.extra.remove("security").unwrap_or_else(fresh))
    }

    pub async fn put_security(&self, security: Value) -> Result<(), Failure> {
        let mut properties = SecurityDocument::default();
        properties.extra.insert("created".into(), self.created.into());
        properties.extra.insert("security".into(), security);
        Ok(self.adapter.put_security(properties).await?)
    }

    /// `5-g<uuid>`: opaque to clients, and another database's is told apart. The `g` is in CouchDB's too, and in no revision.
    pub fn seq(&self, number: u64) -> String {
        format!("{number}-g{}", self.uuid)
    }

    /// The number of a sequence given back. A plain number is taken too; one of a database since deleted starts over,
    /// as CouchDB's does (changes 171, 175).
    pub fn parse_seq(&self, text: &str) -> Result<u64, Failure> {
        let malformed = || Failure::bad_request("Malformed sequence supplied in 'since' parameter.");
        let text = text.trim_matches('"');
        let Some((number, opaque)) = text.split_once('-') else {
            return text.parse().map_err(|_| malformed());
        };
        let number = number.parse().map_err(|_| malformed())?;
        let uuid = opaque
            .strip_prefix('g')
            .filter(|uuid| uuid.len() == 32)
            .ok_or_else(malformed)?;
        Ok(if uuid == self.uuid { number } else { 0 })
    }

    pub async fn update_seq(&self) -> Result<u64, Failure> {
        Ok(self.adapter.info().await?.update_seq.as_num())
    }

    /// How many changes come after `since`. The storage can only list them, so a client that reads page by page has
    /// its next answer counted on from the last.
    pub async fn count_after(&self, since: u64) -> Result<u64, Failure> {
        let update_seq = self.update_seq().await?;
        let last = *self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let counts_on = last.update_seq == update_seq && last.since <= since;
        let options = ChangesOptions {
            since: Seq::Num(if counts_on { last.since } else { since }),
            limit: counts_on.then(|| since - last.since),
            ..ChangesOptions::default()
        };
        let listed = self.adapter.changes(options).await?.results;
        let up_to_since = listed.iter().filter(|event| event.seq.as_num() <= since).count() as u64;
        let count = if counts_on {
            last.count.saturating_sub(up_to_since)
        } else {
            listed.len() as u64
        };
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = Counted {
            update_seq,
            since,
            count,
        };
        Ok(count)
    }

    /// All leaves of each document, winner first; a document that does not exist is not in the answer.
    pub async fn leaves<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a str>,
    ) -> Result<HashMap<String, Vec<String>>, Failure> {
        let question = ids
            .into_iter()
            .map(|id| (id.to_owned(), vec![NEWER_THAN_ALL.to_owned()]))
            .collect();
        let answer = self.adapter.revs_diff(question).await?.results.into_iter();
        Ok(answer
            .map(|(id, diff)| (id, diff.possible_ancestors))
            .filter(|(_, leaves)| !leaves.is_empty())
            .collect())
    }

    pub async fn leaves_of(&self, id: &str) -> Result<Vec<String>, Failure> {
        Ok(self.leaves([id]).await?.remove(id).unwrap_or_default())
    }

    /// The winner, with CouchDB's word for why there is none to see.
    pub async fn winner(&self, id: &str, view: &View) -> Result<Shown, Failure> {
        match self.read(id, None, false, view).await {
            Err(RouchError::NotFound(_)) => {
                let leaves = self.leaves_of(id).await?;
                Err(Failure::not_found(if leaves.is_empty() {
                    "missing"
                } else {
                    "deleted"
                }))
            }
            read => self.show(read?, view).await,
        }
    }

    /// One revision, or with `latest` the leaf it grew into.
    pub async fn revision(&self, id: &str, rev: &str, latest: bool, view: &View) -> Result<Shown, Failure> {
        // A `_local` document has no tree: by a revision CouchDB does not find it (3.5.0).
        if id.starts_with("_local/") {
            return Err(Failure::missing());
        }
        self.show(self.read(id, Some(rev), latest, view).await?, view).await
    }

    /// The leaves a revision has grown into: itself if it is one, none if it is not in the tree.
    pub async fn latest(&self, id: &str, rev: &str) -> Result<Vec<String>, Failure> {
        let leaves = self.leaves_of(id).await?;
        if leaves.iter().any(|leaf| leaf == rev) {
            return Ok(vec![rev.to_owned()]);
        }
        let mut grown = Vec::new();
        for leaf in leaves {
            let options = GetOptions {
                rev: Some(leaf.clone()),
                revs_info: true,
                ..GetOptions::default()
            };
            let path = self.adapter.get(id, options).await?.data["_revs_info"].take();
            if path
                .as_array()
                .is_some_and(|path| path.iter().any(|node| node["rev"] == rev))
            {
                grown.push(leaf);
            }
        }
        Ok(grown)
    }

    async fn read(&self, id: &str, rev: Option<&str>, latest: bool, view: &View) -> Result<Document, RouchError> {
        let options = GetOptions {
            rev: rev.map(str::to_owned),
            latest,
            revs: view.revs || matches!(view.attachments, Form::Since(..)),
            revs_info: view.revs_info,
            conflicts: view.conflicts || view.deleted_conflicts,
            attachments: view.attachments.needs_data(),
            ..GetOptions::default()
        };
        self.adapter.get(id, options).await
    }

    /// Members in CouchDB's order: id, rev, body, `_deleted`, `_revisions`, the meta ones, `_attachments`.
    async fn show(&self, mut document: Document, view: &View) -> Result<Shown, Failure> {
        let rev = document.rev.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut body = match std::mem::take(&mut document.data) {
            Value::Object(body) => body,
            _ => Map::new(),
        };
        let revisions = body.shift_remove("_revisions");
        let revs_info = body.shift_remove("_revs_info");
        let conflicts = body.shift_remove("_conflicts");

        let mut json = Map::with_capacity(body.len() + 4);
        json.insert("_id".into(), document.id.clone().into());
        json.insert("_rev".into(), rev.clone().into());
        json.extend(body);
        if document.deleted {
            json.insert("_deleted".into(), true.into());
        }
        let attachments = view.attachments.show(&document, revisions.as_ref());
        json.extend(revisions.filter(|_| view.revs).map(|r| ("_revisions".to_owned(), r)));
        let without_meta = json.len();
        json.extend(revs_info.map(|info| ("_revs_info".to_owned(), info)));
        if view.deleted_conflicts {
            let deleted = self.deleted_losers(&document.id, &rev, conflicts.as_ref()).await?;
            json.extend(
                conflicts
                    .filter(|_| view.conflicts)
                    .map(|c| ("_conflicts".to_owned(), c)),
            );
            json.extend((!deleted.is_empty()).then(|| ("_deleted_conflicts".to_owned(), deleted.into())));
        } else {
            json.extend(conflicts.map(|c| ("_conflicts".to_owned(), c)));
        }
        if view.local_seq {
            json.insert("_local_seq".into(), self.seq_of(&document.id).await?.into());
        }
        let has_meta = json.len() > without_meta;
        json.extend(attachments.map(|a| ("_attachments".to_owned(), a)));
        Ok(Shown {
            json,
            document,
            has_meta,
        })
    }

    async fn deleted_losers(&self, id: &str, rev: &str, live: Option<&Value>) -> Result<Vec<String>, Failure> {
        let live = live.and_then(Value::as_array);
        let is_live = |leaf: &str| live.is_some_and(|revs| revs.iter().any(|r| r == leaf));
        let mut leaves = self.leaves_of(id).await?;
        leaves.retain(|leaf| leaf != rev && !is_live(leaf));
        Ok(leaves)
    }

    async fn seq_of(&self, id: &str) -> Result<u64, Failure> {
        let options = ChangesOptions {
            doc_ids: Some(vec![id.to_owned()]),
            ..ChangesOptions::default()
        };
        Ok(self
            .adapter
            .changes(options)
            .await?
            .results
            .first()
            .map_or(0, |event| Seq::as_num(&event.seq)))
    }
}
