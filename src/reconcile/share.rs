//! Documents that others embed or refer to: read along, made of what is embedded, and followed.
//!
//! A shared document has a key of its own, and is no document of the entity that is reconciled: it is an input that lenses look at.
//! What an edit embeds newly is *created*, under a revision made of its content, so that it is the same whoever creates it. One that is
//! there is never changed. Where it changes, documents that embed it *follow*, in revisions that are never carried.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use super::{
    Body, Entity, Member, Need, Work,
    carry::Crossing,
    entity::Stored,
    revision::{self, EditId, Kind},
};
use crate::{
    couch::{Document, Fields, NodeId, Rev},
    lens::{Lens, Made, Others, Put, PutError, Shared, share::Embedded},
    schema::{ClassId, Direction},
};

/// The shared documents that live leaves of an entity refer to, by class and key.
pub fn references(lenses: &[Lens], entity: &Entity) -> HashSet<(ClassId, String)> {
    let mut references = HashSet::new();
    for lens in lenses.iter().filter(|lens| !lens.shares().is_empty()) {
        let of_lens = entity
            .members
            .iter()
            .filter(|member| lens.step().new.contains(&member.class));
        for member in of_lens {
            let live = member.tree.live().filter_map(|leaf| member.at(leaf).body.live());
            references.extend(live.flat_map(|body| referred(lens, &body.fields)));
        }
    }
    references
}

fn referred(lens: &Lens, fields: &Fields) -> Vec<(ClassId, String)> {
    let shares = lens.shares().iter();
    shares
        .filter_map(|share| Some((share.class(), share.referred(fields)?)))
        .collect()
}

impl Work<'_> {
    /// Asks for shared documents that lenses may look at and that were not read.
    pub(super) fn ask_for_shared(&mut self) -> bool {
        for (lens, _) in self.lenses.clone() {
            let (Some(&old), Some(&new), false) = (
                lens.step().old.first(),
                lens.step().new.first(),
                lens.shares().is_empty(),
            ) else {
                continue;
            };
            let referred = self.entity.members[self.member(new)]
                .bodies()
                .flat_map(|fields| referred(lens, fields));
            // What is not in the lens names nothing.
            let embedded = self.entity.members[self.member(old)]
                .bodies()
                .flat_map(|fields| lens.embedded(fields).unwrap_or_default());
            let embedded = embedded.map(|embedded| (embedded.class, embedded.key));
            let named: HashSet<(ClassId, String)> = referred.chain(embedded).collect();
            for (class, key) in named {
                let Some(id) = self.id_of(class, &key) else { continue };
                if self.entity.shared.iter().all(|member| member.id != id) {
                    self.outcome.needs.insert(Need { class, id });
                }
            }
        }
        !self.outcome.needs.is_empty()
    }

    /// The id of a shared document; none if the key cannot stand in it, as clients may write any reference.
    fn id_of(&self, class: ClassId, key: &str) -> Option<String> {
        let id = self.registry.class(class).pattern.id(key);
        (self.registry.classify(&id) == Some((class, key))).then_some(id)
    }

    /// The shared document of a class with a key, and what its winner shows.
    fn shared(&self, class: ClassId, key: &str) -> Option<(usize, Shared<'_>)> {
        let id = self.id_of(class, key)?;
        let place = self.entity.shared.iter().position(|member| member.id == id)?;
        let member = &self.entity.shared[place];
        let shown = match member.tree.winner().map(|winner| &member.at(winner).body) {
            Some(Body::Live(document)) => Shared::Live(&document.fields),
            Some(_) => Shared::Deleted,
            None => Shared::Missing,
        };
        Some((place, shown))
    }

    /// What a lens makes, and the revisions of the shared documents that it looked at: they tell one body from another. An attachment is more
    /// than a part's default: whoever holds one is not empty.
    pub(super) fn made(
        &self,
        lens: &Lens,
        put: &Put,
        old: Option<&Document>,
        before: Option<&Document>,
    ) -> Result<(Made, Vec<Rev>), PutError> {
        let looked_at = RefCell::new(BTreeSet::new());
        let shared = |class, key: &str| {
            let Some((place, shown)) = self.shared(class, key) else {
                return Shared::Missing;
            };
            let tree = &self.entity.shared[place].tree;
            looked_at
                .borrow_mut()
                .extend(tree.winner().map(|winner| tree.rev(winner).clone()));
            shown
        };
        let others = Others {
            before: before.map(|before| &before.fields),
            shared: &shared,
        };
        let made = lens.put_among(put, &others)?;
        let holds_more = || old.is_some_and(|old| old.attachments.is_some());
        let made = match (made, lens.default_of(put.target)) {
            (Made::Nothing, Some(default)) if holds_more() => Made::Document(default.clone()),
            (made, _) => made,
        };
        Ok((made, looked_at.into_inner().into_iter().collect()))
    }

    /// What the author of a leaf's edits saw: what stands below the oldest that is not on the target's path, in the document that it was
    /// written to, taken across to the source. Nothing if that is no longer known. The outer `None`: a body must be read first.
    pub(super) fn before(
        &mut self,
        crossing: &Crossing,
        source: usize,
        missing: &[EditId],
    ) -> Option<Option<(Arc<Document>, Rev)>> {
        if crossing.lens.shares().is_empty() || crossing.to == Direction::Down {
            return Some(None);
        }
        let member = &self.entity.members[source];
        let edits = member.tree.path(crossing.leaf).map(|node| member.at(node).edit);
        let Some(oldest) = edits.filter(|edit| missing.contains(edit)).last() else {
            return Some(None);
        };
        // What stands below its mirror may be newer than what its author saw.
        let is_authored =
            |stored: &Stored| stored.edit == oldest && matches!(stored.kind, Kind::Authored | Kind::Merge);
        let written = self.entity.members.iter().enumerate().find_map(|(place, member)| {
            let node = member.tree.nodes().find(|&node| is_authored(member.at(node)))?;
            Some((place, member.tree.parent(node)?))
        });
        let Some((place, node)) = written else {
            return Some(None);
        };
        let origin = &self.entity.members[place];
        match &origin.at(node).body {
            Body::Live(document) => {
                let taken = self.taken_across(document, origin.class, crossing.source);
                Some(taken.map(|document| (document, origin.tree.rev(node).clone())))
            }
            Body::Missing | Body::Tombstone => Some(None),
            Body::Unread => {
                self.want(place, node);
                None
            }
        }
    }

    /// What the lenses make of a document on the way to another class.
    fn taken_across(&self, document: &Arc<Document>, from: ClassId, to: ClassId) -> Option<Arc<Document>> {
        if from == to {
            return Some(document.clone());
        }
        let near = self.registry.via(from, to)?;
        let document = self.taken_across(document, from, near)?;
        let (lens, way) = self.lenses.iter().find_map(|(lens, _)| {
            let mut ways = Direction::BOTH.into_iter();
            let leads = |way: &Direction| {
                let (sources, targets) = lens.step().sides(*way);
                sources.contains(&near) && targets.contains(&to)
            };
            Some((*lens, ways.find(leads)?))
        })?;
        let (classes, _) = lens.step().sides(way);
        let sources: Vec<Option<&Fields>> = classes
            .iter()
            .map(|&class| {
                let member = &self.entity.members[self.member(class)];
                let winner = || member.at(member.tree.winner()?).body.live();
                if class == near { Some(&document) } else { winner() }.map(|document| &document.fields)
            })
            .collect();
        let put = Put {
            to: way,
            target: to,
            key: &self.entity.key,
            sources: &sources,
            old: None,
        };
        let (made, _) = self.made(lens, &put, None, None).ok()?;
        Some(Arc::new(self.document(to, made.document()?, None)))
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
        let mut path = member
            .tree
            .winner()
            .map(|winner| member.revs(winner))
            .unwrap_or_default();
        path.insert(0, revision::derived(&member.id, edit, path.first(), &[], Kind::Merge));
        let body = Some(Arc::new(document));
        let member = Arc::make_mut(&mut self.entity.shared[place]);
        Ok(super::emit(member, &mut self.outcome, path, body, true))
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
        if self.create_referred(lens, place, &refers) {
            return true;
        }
        let put = Put {
            to: Direction::Down,
            target,
            key: &self.entity.key,
            sources: &[Some(&refers.fields)],
            old: Some(&old.fields),
        };
        let (fields, looked_at) = match self.made(lens, &put, Some(&old), None) {
            Ok((Made::Document(fields), looked_at)) => (fields, looked_at),
            Ok((Made::NotReady, _)) => {
                self.outcome.is_waiting = true;
                return false;
            }
            Ok((Made::Nothing, _)) => return false,
            Err(error) => return self.refuse(place, error),
        };
        let shown = self.document(target, fields, Some(&old));
        let was = self.document(target, old.fields.clone(), None);
        if shown.fields.same_as(&was.fields) {
            return false;
        }
        if let Err(violation) = self.fits(target, &shown) {
            return self.refuse(place, violation.into());
        }
        if self.is_aligned(lens, place, from, leaf) {
            return false;
        }
        let member = &self.entity.members[place];
        let refers = self.entity.members[from].tree.rev(companion);
        let revs: Vec<&Rev> = std::iter::once(refers).chain(&looked_at).collect();
        let edit = EditId::made("follow", &member.id, &revs);
        // Once for the same: a lens that answers differently each time must not make revisions without end.
        if member.at(leaf).edit == edit {
            return false;
        }
        let mut path: Vec<Rev> = member.revs(leaf);
        path.insert(0, revision::derived(&member.id, edit, path.first(), &[], Kind::Local));
        self.emit(place, path, Some(Arc::new(shown)))
    }

    /// Creates what is referred to, where what was to be created with the reference has been lost on the way. Where fields of two sides of a
    /// conflict are merged, the side that embeds it may have ended.
    pub(super) fn create_referred(&mut self, lens: &Lens, place: usize, refers: &Document) -> bool {
        let is_missing =
            |(class, key): &(ClassId, String)| matches!(self.shared(*class, key), Some((_, Shared::Missing)));
        let missing: Vec<(ClassId, String)> = referred(lens, &refers.fields).into_iter().filter(is_missing).collect();
        if missing.is_empty() {
            return false;
        }
        let member = &self.entity.members[place];
        let last: Vec<NodeId> = member.tree.leaves().filter_map(|leaf| member.standing(leaf)).collect();
        for node in last {
            match &self.entity.members[place].at(node).body {
                Body::Unread => self.want(place, node),
                Body::Live(document) => {
                    let embedded = lens.embedded(&document.clone().fields).unwrap_or_default();
                    let meant = |embedded: &Embedded| {
                        missing
                            .iter()
                            .any(|(class, key)| (*class, key) == (embedded.class, &embedded.key))
                    };
                    if let Some(embedded) = embedded.into_iter().find(meant) {
                        return self.create(&embedded) == Ok(true);
                    }
                }
                Body::Missing | Body::Tombstone => {}
            }
        }
        false
    }

    /// A leaf has been made to show what the winner of its source says, among the shared documents of today. Where clients write the same revision
    /// twice, that may be another leaf than the one that goes with it: following that would go back and forth.
    fn is_aligned(&self, lens: &Lens, place: usize, from: usize, leaf: NodeId) -> bool {
        let (member, source) = (&self.entity.members[place], &self.entity.members[from]);
        let Some((winner, shown)) = source.tree.winner().and_then(|n| Some((n, source.at(n).body.live()?))) else {
            return false;
        };
        let old = member.at(leaf).body.live();
        let put = Put {
            to: Direction::Down,
            target: member.class,
            key: &self.entity.key,
            sources: &[Some(&shown.fields)],
            old: old.map(|old| &old.fields),
        };
        let Ok((_, looked_at)) = self.made(lens, &put, old.map(|old| &**old), None) else {
            return false;
        };
        let revs: Vec<&Rev> = std::iter::once(source.tree.rev(winner)).chain(&looked_at).collect();
        let mut reasons = ["agree", "join"].into_iter();
        reasons.any(|reason| EditId::made(reason, &member.id, &revs) == member.at(leaf).edit)
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
