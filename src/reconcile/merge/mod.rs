//! Making one of two sides of a conflict that have changed different fields, in classes that ask for it.

mod sides;

use std::{collections::HashSet, sync::Arc};

use super::{
    Body, Member, Work,
    origin::Origins,
    revision::{self, EditId, Kind},
};
use crate::{
    couch::{Document, Fields, NodeId, Rev, three_way},
    lens::{Made, Put},
    schema::{ClassId, Direction},
};
use sides::{Conflict, Side};

/// How often sides may have crossed.
const DEEPEST: usize = 4;

/// What two sides have in common.
struct Base {
    document: Arc<Document>,
    /// What it is made of.
    revs: Vec<Rev>,
}

/// What becomes of two sides.
struct Merge {
    keep: NodeId,
    close: NodeId,
    base: Vec<Rev>,
    document: Arc<Document>,
    /// The side that is kept does not say all of it by itself.
    is_new: bool,
}

impl Work<'_> {
    /// Merges sides of conflicts in the finest classes, which hold the most, exactly as if a client had resolved them: with an edit on
    /// the one and a deletion of the other, both carried like a client's.
    ///
    /// What is done depends on the two revisions and their common base alone, so all who do it write the same. Sides that
    /// were merged here and edited there meet again: what merged two knows what both did, and is told by its hash.
    pub(super) fn merge(&mut self) -> bool {
        if !(0..self.entity.members.len()).any(|place| self.is_merging(place)) {
            return false;
        }
        let mut conflicts: Vec<Conflict> = Vec::new();
        for (place, member) in self.entity.members.iter().enumerate() {
            if self.registry.is_finest(member.class) && member.tree.live().nth(1).is_some() {
                conflicts.push(member.conflict(place));
            }
        }
        let mut moved = false;
        for n in 0..conflicts.len() {
            if self.is_merging(conflicts[n].place) {
                moved |= self.merge_sides(&mut conflicts, n);
            }
        }
        if moved {
            // There are edits now that nobody had made before.
            self.origins = Origins::find(self.registry, self.entity);
        }
        moved
    }

    fn is_merging(&self, place: usize) -> bool {
        let class = self.entity.members[place].class;
        self.registry.class(class).merges_fields && self.registry.is_finest(class)
    }

    fn merge_sides(&mut self, conflicts: &mut [Conflict], at: usize) -> bool {
        let mut moved = false;
        let mut n = 0;
        while n + 1 < conflicts[at].sides.len() {
            let mut other = n + 1;
            while other < conflicts[at].sides.len() {
                let Some(merge) = self.merge_of(conflicts, at, [n, other]) else {
                    other += 1;
                    continue;
                };
                let leaf = self.write(conflicts[at].place, &merge);
                let conflict = &mut conflicts[at];
                let closed = conflict.sides.remove(other);
                if merge.is_new {
                    conflict.sides[n].knows.extend(closed.knows);
                    conflict.merged.insert(leaf, merge.close);
                } else if merge.close != closed.leaf {
                    conflict.sides[n].knows = closed.knows;
                }
                conflict.sides[n].leaf = leaf;
                moved = true;
            }
            n += 1;
        }
        moved
    }

    /// Answers the leaf that is left.
    fn write(&mut self, place: usize, merge: &Merge) -> NodeId {
        let member = &self.entity.members[place];
        let rev = |node| member.tree.rev(node);
        let (keep, close) = (rev(merge.keep), rev(merge.close));
        let edit = member.merging(merge.keep, merge.close);
        let sources = [std::slice::from_ref(close), &merge.base].concat();
        let mut path = vec![revision::derived(&member.id, edit, Some(keep), &sources, Kind::Merge)];
        path.extend(member.revs(merge.keep));
        let edit = EditId::made("merged", &member.id, &[close]);
        let mut end = vec![revision::derived(&member.id, edit, Some(close), &[], Kind::Merge)];
        end.extend(member.revs(merge.close));
        let top = path[0].clone();
        if merge.is_new {
            self.emit(place, path, Some(merge.document.clone()));
        }
        self.emit(place, end, None);
        self.entity.members[place].tree.find(&top).unwrap_or(merge.keep)
    }

    /// What two sides make. None if they clash, if what it takes to tell is not there, or if something would be lost elsewhere.
    fn merge_of(&mut self, conflicts: &[Conflict], at: usize, sides: [usize; 2]) -> Option<Merge> {
        let conflict = &conflicts[at];
        let sides = sides.map(|n| &conflict.sides[n]);
        let merge = self.three_way_of(conflict, sides)?;
        let class = self.entity.members[conflict.place].class;
        self.fits(class, &merge.document).ok()?;
        let [a, b] = sides.map(|side| &side.knows);
        let own = [a - b, b - a];
        let mut others = conflicts.iter().filter(|other| other.place != conflict.place);
        (others.all(|other| self.is_merged_too(other, &own)) && self.loses_nothing(class, &merge.document, &own))
            .then_some(merge)
    }

    fn three_way_of(&mut self, conflict: &Conflict, [a, b]: [&Side; 2]) -> Option<Merge> {
        let place = conflict.place;
        let base = self.base_of(conflict, [a, b])?;
        let (first, second) = (self.told_by(place, a.leaf), self.told_by(place, b.leaf));
        let (first, second) = (first?, second?);
        let made = three_way(&base.document, &first, &second)?;
        let (keep, close) = if made.is_on_second {
            (b.leaf, a.leaf)
        } else {
            (a.leaf, b.leaf)
        };
        let kept = if made.is_on_second { second } else { first };
        let shown = self.entity.members[place].at(keep).body.live()?;
        // What settling shows there may be borrowed from the side that ends.
        let is_new = [&kept, &self.named(place, shown)]
            .iter()
            .any(|kept| !kept.fields.same_as(&made.fields));
        let document = with(made.fields, shown);
        Some(Merge {
            keep,
            close,
            base: base.revs,
            is_new,
            document,
        })
    }

    /// What both sides had before they parted.
    fn base_of(&mut self, conflict: &Conflict, sides: [&Side; 2]) -> Option<Base> {
        let member = &self.entity.members[conflict.place];
        let [a, b] = sides.map(|side| &side.knows);
        let forked = member.forked(sides.map(|side| side.leaf));
        let of_fork = forked.map(|forked| member.known(&conflict.merged, forked).0.len());
        // What stood at the fork, both have.
        if let Some(forked) = forked.filter(|_| of_fork == Some(a.intersection(b).count())) {
            return self.standing(conflict.place, forked);
        }
        // Where `_revs_limit` has cut paths, what is missing on one may have been there.
        if self.is_stemmed {
            return None;
        }
        let ends = sides.map(|side| member.known(&conflict.merged, side.leaf).1).concat();
        self.virtual_base(conflict, &ends, &(a & b), DEEPEST)
    }

    /// A revision that has seen these edits and no others. If there is none, because sides crossed, what several such make of what they in
    /// turn have in common.
    fn virtual_base(
        &mut self,
        conflict: &Conflict,
        ends: &[NodeId],
        edits: &HashSet<EditId>,
        depth: usize,
    ) -> Option<Base> {
        let bases = self.entity.members[conflict.place].bases(&conflict.merged, ends, edits);
        let (first, rest) = bases.split_first()?;
        let mut knows = first.knows.clone();
        let mut base = self.standing(conflict.place, first.leaf)?;
        for next in rest {
            let common = &knows & &next.knows;
            let below = self.virtual_base(conflict, ends, &common, depth.checked_sub(1)?)?;
            let other = self.standing(conflict.place, next.leaf)?;
            let made = three_way(&below.document, &base.document, &other.document)?;
            let with_attachments = if made.is_on_second { &other } else { &base };
            base.document = with(made.fields, &with_attachments.document);
            base.revs.extend(other.revs);
            knows.extend(&next.knows);
        }
        (knows == *edits).then_some(base)
    }

    fn standing(&mut self, place: usize, node: NodeId) -> Option<Base> {
        let document = self.body(place, node)?;
        let revs = vec![self.entity.members[place].tree.rev(node).clone()];
        Some(Base { document, revs })
    }

    /// What a side has changed: what settling has laid on top is no change of its, and may be borrowed from the other side.
    fn told_by(&mut self, place: usize, leaf: NodeId) -> Option<Arc<Document>> {
        let told = self.told(place, leaf)?;
        let member = &self.entity.members[place];
        let is_borrowed = member.at(told).kind == Kind::Local;
        let body = member.at(told).body.live().filter(|_| !is_borrowed)?;
        Some(self.named(place, body))
    }

    /// None if there is none any more, or if it must be read first.
    fn body(&mut self, place: usize, node: NodeId) -> Option<Arc<Document>> {
        let body = self.entity.members[place].at(node).body.clone();
        if matches!(body, Body::Unread) {
            self.want(place, node);
        }
        Some(self.named(place, body.live()?))
    }

    /// The document with its class in it: the engine's fields are no change of anybody's.
    fn named(&self, place: usize, document: &Arc<Document>) -> Arc<Document> {
        let name = &self.registry.class(self.entity.members[place].class).name;
        let mut named = document.clone();
        let fields = &mut Arc::make_mut(&mut named).fields;
        name.fields()
            .into_iter()
            .for_each(|(field, value)| fields.set(field, value));
        named
    }

    /// A conflict that shows in several of the finest documents is merged in all of them or in none: an older version has them in one
    /// document, and could not show what is left.
    fn is_merged_too(&mut self, other: &Conflict, own: &[HashSet<EditId>; 2]) -> bool {
        let of = |n: usize| {
            let is_it = move |side: &&Side| !side.knows.is_disjoint(&own[n]) && side.knows.is_disjoint(&own[1 - n]);
            other.sides.iter().filter(is_it)
        };
        let class = self.entity.members[other.place].class;
        for first in of(0) {
            for second in of(1) {
                // The higher one first, as it will be when its turn comes.
                let tree = &self.entity.members[other.place].tree;
                let is_first = tree.rev(first.leaf) > tree.rev(second.leaf);
                let pair = if is_first { [first, second] } else { [second, first] };
                let fits = |work: &mut Self| {
                    let made = work.three_way_of(other, pair);
                    made.is_some_and(|made| work.fits(class, &made.document).is_ok())
                };
                if !self.is_merging(other.place) || !fits(self) {
                    return false;
                }
            }
        }
        true
    }

    /// What older versions make of the merged document fits them, and is the same on either side: what only they know was not
    /// changed on one side alone, where it would end with it.
    fn loses_nothing(&self, class: ClassId, document: &Document, own: &[HashSet<EditId>; 2]) -> bool {
        let mut steps = self
            .lenses
            .iter()
            .map(|(lens, _)| (lens, lens.step().sides(Direction::Down)));
        steps.all(|(lens, (near, far))| {
            !near.contains(&class)
                || far.iter().all(|&target| {
                    let member = &self.entity.members[self.member(target)];
                    let sources: Vec<Option<&Fields>> = near
                        .iter()
                        .map(|&input| match input == class {
                            true => Some(&document.fields),
                            false => self.entity.members[self.member(input)]
                                .shown()
                                .map(|shown| &shown.fields),
                        })
                        .collect();
                    let mut made: Option<Document> = None;
                    let sides = [0, 1]
                        .into_iter()
                        .filter_map(|n| self.side_of(member, &own[n], &own[1 - n]));
                    for old in sides {
                        let put = Put {
                            to: Direction::Down,
                            target,
                            key: &self.entity.key,
                            sources: &sources,
                            old: Some(&old.fields),
                        };
                        let Ok((Made::Document(fields), _)) = self.made(lens, &put, Some(old), None) else {
                            return false;
                        };
                        let other = self.document(target, fields, Some(old));
                        if self.fits(target, &other).is_err()
                            || made.as_ref().is_some_and(|made| !made.fields.same_as(&other.fields))
                        {
                            return false;
                        }
                        made = Some(other);
                    }
                    made.is_none_or(|made| self.loses_nothing(target, &made, own))
                })
        })
    }

    /// The living side of a conflict that has all of one side's edits, as far as they belong there, and none of the other's.
    fn side_of<'a>(&self, member: &'a Member, own: &HashSet<EditId>, others: &HashSet<EditId>) -> Option<&'a Document> {
        let belongs = |edit: &&EditId| self.origins.belongs(**edit, member.class);
        let own: HashSet<EditId> = own.iter().filter(belongs).copied().collect();
        let mut live = member.tree.live().map(|leaf| (leaf, member.shared_edits(leaf)));
        let (leaf, _) = live.find(|(_, edits)| !own.is_empty() && own.is_subset(edits) && edits.is_disjoint(others))?;
        member.at(leaf).body.live().map(|body| &**body)
    }
}

/// The fields with the attachments of a document that is there.
fn with(fields: Fields, attachments: &Document) -> Arc<Document> {
    Arc::new(Document {
        fields,
        attachments: attachments.attachments.clone(),
        ..Document::default()
    })
}
