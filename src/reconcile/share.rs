//! Documents that others embed or refer to: read along, made of what is embedded, and followed.
//!
//! A shared document has a key of its own, and is no document of the entity that is reconciled: it is an input that lenses look at.
//! What an edit embeds newly is *created*, under a revision made of its content, so that it is the same whoever creates it. One that is
//! there is never changed. Where it changes, documents that embed it *follow*, in revisions that are never carried.

use std::sync::Arc;

use super::{
    Body, Member, Need, Work,
    carry::Crossing,
    revision::{self, EditId, Kind},
};
use crate::{
    couch::{Document, Fields, NodeId, Rev},
    lens::{Lens, Made, Others, Put, PutError, Shared, share::Embedded},
    schema::{ClassId, Direction},
};

impl Work<'_> {
    /// Asks for shared documents that lenses may look at and that were not read.
    pub(super) fn ask_for_shared(&mut self) -> bool {
        for (lens, _) in self.lenses.clone() {
            let [old, new] = [&lens.step().old, &lens.step().new].map(|side| side.first().copied());
            let (Some(old), Some(new)) = (old, new) else { continue };
            for share in lens.shares() {
                let bodies = |class| {
                    let member = &self.entity.members[self.member(class)];
                    let bodies = member.tree.nodes().filter_map(|node| member.at(node).body.live());
                    bodies.map(|body| body.fields.clone()).collect::<Vec<_>>()
                };
                let referred = bodies(new).into_iter().filter_map(|fields| share.referred(&fields));
                let embedded = bodies(old).into_iter().filter_map(|fields| lens.embedded(&fields).ok());
                let embedded = embedded.flatten().map(|embedded| embedded.key);
                let keys: Vec<String> = referred.chain(embedded).collect();
                for key in keys {
                    let id = self.registry.class(share.class()).pattern.id(&key);
                    if self.entity.shared.iter().all(|member| member.id != id) {
                        self.outcome.needs.insert(Need {
                            class: share.class(),
                            id,
                        });
                    }
                }
            }
        }
        !self.outcome.needs.is_empty()
    }

    /// The shared document of a class with a key, and what its winner shows.
    fn shared(&self, class: ClassId, key: &str) -> Option<(usize, Shared<'_>)> {
        let id = self.registry.class(class).pattern.id(key);
        let place = self.entity.shared.iter().position(|member| member.id == id)?;
        let member = &self.entity.shared[place];
        let shown = match member.tree.winner().map(|winner| &member.at(winner).body) {
            Some(Body::Live(document)) => Shared::Live(&document.fields),
            Some(_) => Shared::Deleted,
            None => Shared::Missing,
        };
        Some((place, shown))
    }

    /// What a lens makes. An attachment is more than a part's default: whoever holds one is not empty.
    pub(super) fn made(
        &self,
        lens: &Lens,
        put: &Put,
        old: Option<&Document>,
        before: Option<&Document>,
    ) -> Result<Made, PutError> {
        let shared = |class, key: &str| self.shared(class, key).map(|(_, shown)| shown).unwrap_or_default();
        let others = Others {
            before: before.map(|before| &before.fields),
            shared: &shared,
        };
        let made = lens.put_among(put, &others)?;
        let holds_more = || old.is_some_and(|old| old.attachments.is_some());
        Ok(match (made, lens.default_of(put.target)) {
            (Made::Nothing, Some(default)) if holds_more() => Made::Document(default.clone()),
            (made, _) => made,
        })
    }

    /// What the author of a leaf's edits saw, as far as it matters: what stands below those that are not on the target's path.
    /// The outer `None`: that body must be read first.
    pub(super) fn before(
        &mut self,
        crossing: &Crossing,
        source: usize,
        missing: &[EditId],
    ) -> Option<Option<Arc<Document>>> {
        if crossing.lens.shares().is_empty() || crossing.to == Direction::Down {
            return Some(None);
        }
        let member = &self.entity.members[source];
        let is_new = |&node: &NodeId| missing.contains(&member.at(node).edit);
        let oldest = member.tree.path(crossing.leaf).filter(is_new).last();
        let Some(before) = oldest.and_then(|oldest| member.tree.parent(oldest)) else {
            return Some(None);
        };
        match &member.at(before).body {
            Body::Live(document) => Some(Some(document.clone())),
            Body::Missing | Body::Tombstone => Some(None),
            Body::Unread => {
                self.want(source, before);
                None
            }
        }
    }

    /// Creates what a document embeds, where it refers to it newly and there is none.
    pub(super) fn create_embedded(
        &mut self,
        lens: &Lens,
        embedding: &Fields,
        made: &Document,
        old: Option<&Document>,
    ) -> Result<bool, PutError> {
        let mut moved = false;
        for embedded in lens.embedded(embedding)? {
            let refers = |fields: &Fields| {
                let mut shares = lens.shares().iter();
                shares.any(|share| {
                    share.reference() == embedded.reference && share.referred(fields).as_ref() == Some(&embedded.key)
                })
            };
            if refers(&made.fields) && !old.is_some_and(|old| refers(&old.fields)) {
                moved |= self.create(&embedded)?;
            }
        }
        Ok(moved)
    }

    fn create(&mut self, embedded: &Embedded) -> Result<bool, PutError> {
        let Some((place, Shared::Missing | Shared::Deleted)) = self.shared(embedded.class, &embedded.key) else {
            return Ok(false);
        };
        let document = self.document(embedded.class, embedded.fields.clone(), None);
        let class = self.registry.class(embedded.class);
        let member = &self.entity.shared[place];
        class.validator.check(&member.id, document.fields.iter())?;
        let text = serde_json::to_string(&document.fields).unwrap_or_default();
        let edit = EditId::made(&format!("create {text}"), &member.id, &[]);
        // One that was deleted is written anew on top of that.
        let mut path = member.tree.winner().map(|winner| member.revs(winner)).unwrap_or_default();
        path.insert(0, revision::derived(&member.id, edit, path.first(), &[], Kind::Merge));
        let body = Some(Arc::new(document));
        Ok(super::emit(&mut self.entity.shared[place], &mut self.outcome, path, body))
    }

    /// Lets every document that embeds a shared one show what that says now.
    pub(super) fn follow(&mut self) -> bool {
        let mut moved = false;
        for (lens, flow) in self.lenses.clone() {
            let (&[target], &[source]) = (&lens.step().old[..], &lens.step().new[..]) else {
                continue;
            };
            if lens.shares().is_empty() || flow != Some(Direction::Down) {
                continue;
            }
            let tree = &self.entity.members[self.member(target)].tree;
            let mut leaves: Vec<NodeId> = tree.live().collect();
            leaves.sort_by_key(|&leaf| tree.rev(leaf));
            for leaf in leaves {
                moved |= self.follow_at(lens, target, source, leaf);
            }
        }
        moved
    }

    fn follow_at(&mut self, lens: &Lens, target: ClassId, source: ClassId, leaf: NodeId) -> bool {
        let (place, from) = (self.member(target), self.member(source));
        let Some(companion) = self.companion(place, leaf, from) else {
            return false;
        };
        let (member, other) = (&self.entity.members[place], &self.entity.members[from]);
        let (Some(old), Some(refers)) = (member.at(leaf).body.live(), other.at(companion).body.live()) else {
            return false;
        };
        let (old, refers) = (old.clone(), refers.clone());
        if !self.has_same(member, leaf, other, companion) {
            return false;
        }
        // What was to be created with a reference may have been lost on the way.
        let is_missing = |embedded: &Embedded| {
            matches!(self.shared(embedded.class, &embedded.key), Some((_, Shared::Missing)))
        };
        let embedded = lens.embedded(&old.fields).unwrap_or_default();
        if embedded.iter().any(is_missing) && self.create_embedded(lens, &old.fields, &refers, None) == Ok(true) {
            return true;
        }
        let put = Put {
            to: Direction::Down,
            target,
            key: &self.entity.key,
            sources: &[Some(&refers.fields)],
            old: Some(&old.fields),
        };
        let fields = match self.made(lens, &put, Some(&old), None) {
            Ok(Made::Document(fields)) => fields,
            Ok(Made::NotReady) => {
                self.outcome.is_waiting = true;
                return false;
            }
            Ok(Made::Nothing) | Err(_) => return false,
        };
        let shown = self.document(target, fields, Some(&old));
        let was = self.document(target, old.fields.clone(), None);
        if shown.fields.same_as(&was.fields) || self.fits(target, &shown).is_err() {
            return false;
        }
        let member = &self.entity.members[place];
        let mut revs = vec![self.entity.members[from].tree.rev(companion)];
        let shared = lens.shares().iter().filter_map(|share| {
            let (place, _) = self.shared(share.class(), &share.referred(&refers.fields)?)?;
            let shared: &Member = &self.entity.shared[place];
            Some(shared.tree.rev(shared.tree.winner()?))
        });
        revs.extend(shared);
        let edit = EditId::made("follow", &member.id, &revs);
        // Once for the same: a lens that answers differently each time must not make revisions without end.
        if member.at(leaf).edit == edit {
            return false;
        }
        let mut path: Vec<Rev> = member.revs(leaf);
        path.insert(0, revision::derived(&member.id, edit, path.first(), &[], Kind::Local));
        self.emit(place, path, Some(Arc::new(shown)))
    }

    /// Two leaves have the same edits, as far as they belong into both documents.
    fn has_same(&self, a: &Member, a_leaf: NodeId, b: &Member, b_leaf: NodeId) -> bool {
        let common = |member: &Member, leaf| {
            let belongs = |edit: &EditId| [a, b].iter().all(|m| self.origins.belongs(*edit, m.class));
            let edits = member.edits(leaf).into_iter().filter(belongs);
            edits.collect::<std::collections::BTreeSet<_>>()
        };
        let (a, b) = (common(a, a_leaf), common(b, b_leaf));
        a == b || self.is_stemmed
    }
}
