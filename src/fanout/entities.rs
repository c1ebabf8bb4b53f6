//! Reading entities: every leaf of every document with its history, by one `_bulk_get`.

use std::{collections::HashSet, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};

use super::{Error, store};
use crate::{
    couch::Document,
    reconcile::{Body, Entity, Want},
    upstream::Upstream,
};

/// Entities in one request. CouchDB refuses more than 10,000 documents by default (`max_bulk_get_count`).
pub const AT_ONCE: usize = 500;

#[derive(Serialize)]
struct Question<'a> {
    docs: Vec<Asked<'a>>,
}

#[derive(Serialize)]
struct Asked<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rev: Option<String>,
}

#[derive(Deserialize)]
struct BulkGet {
    results: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    id: String,
    docs: Vec<Revision>,
}

/// `{"ok": document}`, or `{"error": …}`: the document, or this revision of it, is not there.
struct Revision(Option<Document>);

impl<'de> Deserialize<'de> for Revision {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Answer {
            ok: Option<Document>,
            #[serde(rename = "error")]
            _error: Option<IgnoredAny>,
        }
        Answer::deserialize(from).map(|answer| Self(answer.ok))
    }
}

/// Fills in what the upstream has. Without a `rev`, `_bulk_get` answers every leaf, deleted ones too (transcripts, bulk).
pub async fn read(upstream: &Upstream, db: &str, entities: &mut [Entity]) -> Result<(), Error> {
    let ids = entities.iter().flat_map(|entity| &entity.members).map(|member| Asked {
        id: &member.id,
        rev: None,
    });
    let found = ask(upstream, db, ids.collect()).await?;
    // One result for each document asked for, in the same order.
    let mut members = entities.iter_mut().flat_map(|entity| &mut entity.members);
    for Found { id, docs } in found {
        let Some(member) = members.find(|member| member.id == id) else {
            break;
        };
        for document in docs.into_iter().filter_map(|revision| revision.0) {
            let path = match (&document.rev, document.revisions.is_empty()) {
                (Some(rev), true) => vec![rev.clone()],
                _ => document.revisions.clone(),
            };
            member.insert(&path, body_of(document), Body::Unread);
        }
    }
    Ok(())
}

/// Reads bodies of inner revisions; one that is not there any more is noted as missing.
pub async fn read_wanted(
    upstream: &Upstream,
    db: &str,
    unread: Vec<(Entity, HashSet<Want>)>,
) -> Result<Vec<Entity>, Error> {
    let mut read = Vec::with_capacity(unread.len());
    for (mut entity, wants) in unread {
        let wants: Vec<Want> = wants.into_iter().collect();
        let asked = wants.iter().map(|want| Asked {
            id: &want.id,
            rev: Some(want.rev.to_string()),
        });
        let found = ask(upstream, db, asked.collect()).await?;
        for (want, Found { docs, .. }) in wants.iter().zip(found) {
            let document = docs.into_iter().find_map(|revision| revision.0);
            let member = entity.position(&want.id).map(|place| &mut entity.members[place]);
            if let Some(member) = member
                && let Some(node) = member.tree.find(&want.rev)
            {
                let is_it = |document: &Document| document.rev.as_ref() == Some(&want.rev);
                member.tree.content_mut(node).body = document.filter(is_it).map_or(Body::Missing, body_of);
            }
        }
        read.push(entity);
    }
    Ok(read)
}

fn body_of(document: Document) -> Body {
    if document.deleted {
        Body::Tombstone
    } else {
        Body::Live(Arc::new(document))
    }
}

async fn ask(upstream: &Upstream, db: &str, docs: Vec<Asked<'_>>) -> Result<Vec<Found>, Error> {
    if docs.is_empty() {
        return Ok(Vec::new());
    }
    let unreadable = |source: serde_json::Error| Error::Unreadable {
        request: "_bulk_get",
        source: source.into(),
    };
    let body = serde_json::to_vec(&Question { docs }).map_err(unreadable)?;
    let (status, answer) = store::post(upstream, db, "_bulk_get", "?revs=true", body.into()).await?;
    if status != http::StatusCode::OK {
        return Err(store::refused("_bulk_get", status, &answer));
    }
    Ok(serde_json::from_slice::<BulkGet>(&answer).map_err(unreadable)?.results)
}
