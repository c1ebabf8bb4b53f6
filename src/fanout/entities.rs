//! Reading entities: every leaf of every document with its history, by one `_bulk_get`.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Error, store};
use crate::{
    couch::Document,
    reconcile::{Body, Entity, Member, Need, Want},
    upstream::{
        Upstream,
        account::{Ask, path},
    },
};

/// Entities in one request. CouchDB refuses more than 10,000 documents by default (`max_bulk_get_count`).
pub const AT_ONCE: usize = 500;

/// The most that is read of an answer about several entities. What is parsed and derived from it takes a few times as much.
pub const BUDGET: usize = 4 << 20;

/// The same for entities that are read ahead: doing it again in parts would cost more.
pub const BUDGET_AHEAD: usize = 2 * BUDGET;

#[derive(Serialize)]
struct Question<'a> {
    docs: &'a [Asked<'a>],
}

#[derive(Serialize)]
struct Asked<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rev: Option<String>,
}

#[derive(Deserialize)]
struct BulkGet<'a> {
    #[serde(borrow)]
    results: Vec<Found<'a>>,
}

#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    docs: Vec<Revision<'a>>,
}

/// `{"ok": document}`, or `{"error": …}`: the document, or this revision of it, is not there.
#[derive(Deserialize)]
struct Revision<'a> {
    #[serde(borrow)]
    ok: Option<&'a RawValue>,
}

impl Revision<'_> {
    fn read(&self) -> Result<Option<Document>, serde_json::Error> {
        let document = self.ok.as_ref().map(|text| serde_json::from_str(text.get()));
        document.transpose()
    }
}

/// Fills in what the upstream has. Without a `rev`, `_bulk_get` answers every leaf, deleted ones too (transcripts, bulk).
///
/// What cannot be read whole is not reconciled, and keeps nothing else from being so: such an entity is left without a document.
///
/// Answers how long the upstream's answer was. One about several entities that is longer than `budget` fails with
/// [`Error::TooLong`]: fewer are to be read at once.
pub async fn read(upstream: &Upstream, db: &str, entities: &mut [Entity], budget: usize) -> Result<usize, Error> {
    let ids = entities.iter().flat_map(|entity| &entity.members).map(|member| Asked {
        id: &member.id,
        rev: None,
    });
    let limit = if entities.len() > 1 { budget } else { store::LIMIT };
    let answer = ask(upstream, db, &ids.collect::<Vec<_>>(), limit).await?;
    let found = found_in(&answer)?;
    // One result for each document asked for, in the same order.
    let mut found = found.into_iter().peekable();
    for entity in entities {
        let mut is_readable = true;
        for member in &mut entity.members {
            let Some(found) = found.next_if(|found| found.id == member.id) else {
                break;
            };
            is_readable &= fill(db, member, &found);
        }
        if !is_readable {
            entity.members.clear();
        }
    }
    Ok(answer.len())
}

/// Puts every leaf that was found into a document. CouchDB lets a replicated write bear a revision that is none (`0-a`, a generation beyond
/// every integer): then the document cannot be read, and false is answered.
fn fill(db: &str, member: &mut Member, found: &Found<'_>) -> bool {
    let mut is_readable = true;
    for revision in &found.docs {
        match revision.read() {
            Ok(Some(document)) => {
                let path = match (&document.rev, document.revisions.is_empty()) {
                    (Some(rev), true) => vec![rev.clone()],
                    _ => document.revisions.clone(),
                };
                member.insert(&path, body_of(document), Body::Unread);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(db, document = &*found.id, %error, "a document cannot be read, and stays out of step");
                is_readable = false;
            }
        }
    }
    is_readable
}

/// Reads bodies of inner revisions; one that is not there any more is noted as missing.
pub async fn read_wanted(
    upstream: &Upstream,
    db: &str,
    unread: Vec<(Entity, HashSet<Want>)>,
) -> Result<Vec<Entity>, Error> {
    let wanted: Vec<(usize, Want)> = unread
        .iter()
        .enumerate()
        .flat_map(|(n, (_, wants))| wants.iter().map(move |want| (n, want.clone())))
        .collect();
    let mut read: Vec<Entity> = unread.into_iter().map(|(entity, _)| entity).collect();
    let asked = |(_, want): &'_ (usize, Want)| (want.id.clone(), Some(want.rev.to_string()));
    each(upstream, db, &wanted, asked, |(n, want), found| {
        let docs = found.map(|found| &*found.docs).unwrap_or_default();
        let document = docs.iter().find_map(|revision| revision.read().ok().flatten());
        let place = read[*n].position(&want.id);
        let member = place.map(|place| &mut read[*n].members[place]);
        if let Some(member) = member
            && let Some(node) = member.tree.find(&want.rev)
        {
            let is_it = |document: &Document| document.rev.as_ref() == Some(&want.rev);
            member.tree.content_mut(node).body = document.filter(is_it).map_or(Body::Missing, body_of);
        }
    })
    .await?;
    Ok(read)
}

/// Reads documents that entities share, each as a document with all its leaves; none where it cannot be read.
pub async fn read_shared(upstream: &Upstream, db: &str, needs: &[Need]) -> Result<Vec<Option<Member>>, Error> {
    let mut read = Vec::with_capacity(needs.len());
    let asked = |need: &'_ Need| (need.id.clone(), None);
    each(upstream, db, needs, asked, |need, found| {
        let mut member = Member::new(need.class, need.id.clone());
        let is_readable = found.is_some_and(|found| fill(db, &mut member, found));
        read.push(is_readable.then_some(member));
    })
    .await?;
    Ok(read)
}

/// Asks for any number of documents, each by its id and perhaps a revision, as many at a time as their size allows. `on` is told of each in
/// order; none if the upstream left it out.
async fn each<T>(
    upstream: &Upstream,
    db: &str,
    all: &[T],
    asked: impl Fn(&T) -> (String, Option<String>),
    mut on: impl FnMut(&T, Option<&Found<'_>>),
) -> Result<(), Error> {
    let mut rest = all;
    let mut at_once = AT_ONCE;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(at_once.min(rest.len()));
        let asked: Vec<_> = now.iter().map(&asked).collect();
        let docs = asked.iter().map(|(id, rev)| Asked { id, rev: rev.clone() });
        let limit = if now.len() > 1 { BUDGET } else { store::LIMIT };
        let answer = match ask(upstream, db, &docs.collect::<Vec<_>>(), limit).await {
            Err(Error::TooLong { .. }) if now.len() > 1 => {
                at_once = now.len() / 2;
                continue;
            }
            answer => answer?,
        };
        let found = found_in(&answer)?;
        for (n, one) in now.iter().enumerate() {
            on(one, found.get(n).filter(|found| found.id == asked[n].0));
        }
        rest = later;
    }
    Ok(())
}

fn body_of(document: Document) -> Body {
    if document.deleted {
        Body::Tombstone
    } else {
        Body::Live(Arc::new(document))
    }
}

async fn ask(upstream: &Upstream, db: &str, docs: &[Asked<'_>], limit: usize) -> Result<Bytes, Error> {
    let body = serde_json::to_vec(&Question { docs }).map_err(unreadable)?;
    // How an attachment is stored has to be known where it is to be sent as it is (undocumented here, and measured on 3.5.0).
    let path = format!("{}?revs=true&att_encoding_info=true", path([db, "_bulk_get"]));
    let ask = Ask::new(Method::POST, "_bulk_get", path).with(body).limit(limit);
    Ok(ask.send(upstream).await?.expect(&[StatusCode::OK])?.body)
}

fn found_in(answer: &[u8]) -> Result<Vec<Found<'_>>, Error> {
    let answer: BulkGet<'_> = serde_json::from_slice(answer).map_err(unreadable)?;
    Ok(answer.results)
}

fn unreadable(source: serde_json::Error) -> Error {
    Error::Unreadable {
        request: "_bulk_get",
        source: source.into(),
    }
}
