//! A document as a client sends it: special members taken out and checked as CouchDB checks them.

use bytes::Bytes;
use http::StatusCode;
use rouchdb_core::document::{Revision, normalize_rev_hash};
use serde_json::{Map, Value};

use super::{
    attachments::{self, Input},
    request::parse_json,
    respond::Failure,
};

/// CouchDB's default `max_document_size`.
const DOCUMENT_LIMIT: usize = 8_000_000;

pub struct Edit {
    /// Empty: the server makes one.
    pub id: String,
    pub revs: Option<Revs>,
    pub deleted: bool,
    pub body: Map<String, Value>,
    pub attachments: Vec<(String, Input)>,
}

/// A path in the revision tree, newest first: of `_rev` its one revision, of `_revisions` all of them.
#[derive(Clone)]
pub struct Revs {
    pub start: u64,
    pub ids: Vec<String>,
}

impl Revs {
    pub fn parse(rev: &str) -> Result<Self, Failure> {
        let rev: Revision = rev.parse()?;
        Ok(Self {
            start: rev.pos,
            ids: vec![rev.hash],
        })
    }

    /// `None` if there is no revision in it.
    pub fn newest(&self) -> Option<String> {
        self.ids.first().map(|hash| format!("{}-{hash}", self.start))
    }
}

impl Edit {
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            revs: None,
            deleted: false,
            body: Map::new(),
            attachments: Vec::new(),
        }
    }

    /// The text of one document.
    pub fn parse(text: Bytes) -> Result<Self, Failure> {
        let length = text.len();
        let edit = Self::from_json(parse_json(text)?)?;
        if length > DOCUMENT_LIMIT {
            edit.check_size().map(|()| edit)
        } else {
            Ok(edit)
        }
    }

    pub fn from_json(value: Value) -> Result<Self, Failure> {
        let Value::Object(members) = value else {
            return Err(Failure::bad_request("Document must be a JSON object"));
        };
        let mut edit = Self::new("");
        let mut revisions = None;
        for (key, value) in members {
            match key.as_str() {
                "_id" => edit.id = document_id(value)?,
                "_rev" => edit.revs = Some(Revs::parse(value.as_str().ok_or_else(Failure::invalid_rev)?)?),
                "_revisions" => revisions = Some(parse_revisions(&value)?),
                "_deleted" => edit.deleted = value.as_bool().ok_or_else(|| bad_member(&key))?,
                "_attachments" => edit.attachments = attachments::parse(value)?,
                // What reads add is dropped again, what the replicator and access control add is kept (documents 114-120).
                "_revs_info" | "_conflicts" | "_deleted_conflicts" | "_local_seq" => {}
                "_access"
                | "_replication_id"
                | "_replication_state"
                | "_replication_state_reason"
                | "_replication_state_time"
                | "_replication_stats" => {
                    edit.body.insert(key, value);
                }
                special if special.starts_with('_') => return Err(bad_member(special)),
                _ => {
                    edit.body.insert(key, value);
                }
            }
        }
        // `_revisions` wins over `_rev`, even if they disagree (bulk 52, documents 104).
        edit.revs = revisions.or(edit.revs);
        Ok(edit)
    }

    /// Only large requests can hold a document that is too large, so few are measured.
    pub fn check_size(&self) -> Result<(), Failure> {
        let size = serde_json::to_vec(&self.body).map_or(0, |text| text.len());
        if size > DOCUMENT_LIMIT {
            return Err(Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "document_too_large",
                self.id.clone(),
            ));
        }
        Ok(())
    }

    pub fn is_local(&self) -> bool {
        self.id.starts_with("_local/")
    }
}

fn bad_member(name: &str) -> Failure {
    Failure::doc_validation(format!("Bad special document member: {name}"))
}

fn document_id(value: Value) -> Result<String, Failure> {
    match value {
        Value::String(id) => check_id(&id).map(|()| id),
        _ => Err(Failure::illegal_docid("Document id must be a string")),
    }
}

pub fn check_id(id: &str) -> Result<(), Failure> {
    let reserved = ["_design/", "_local/"]
        .iter()
        .any(|prefix| id.len() > prefix.len() && id.starts_with(prefix));
    if id.is_empty() {
        return Err(Failure::illegal_docid("Document id must not be empty"));
    }
    if id.starts_with('_') && !reserved {
        return Err(Failure::illegal_docid(
            "Only reserved document ids may start with underscore.",
        ));
    }
    Ok(())
}

fn parse_revisions(value: &Value) -> Result<Revs, Failure> {
    let start = value["start"]
        .as_u64()
        .ok_or_else(|| Failure::doc_validation("_revisions.start isn't an integer."))?;
    let ids = value["ids"]
        .as_array()
        .ok_or_else(|| Failure::doc_validation("_revisions.ids isn't a array."))?;
    let text = |id: &Value| id.as_str().map(|id| normalize_rev_hash(id).into_owned());
    let ids = ids.iter().map(text).collect::<Option<_>>();
    Ok(Revs {
        start,
        ids: ids.ok_or_else(|| Failure::doc_validation("RevId isn't a string"))?,
    })
}
