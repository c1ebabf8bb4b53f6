//! Carrying edits over lenses, fast-forward or as a conflict, exactly as they stand where they come from.

use std::{collections::HashSet, sync::Arc};

use super::{
    Body, Entity, Want, Work,
    attach::{Attached, Onto},
    revision::{self, EditId, Kind},
};
use crate::{
    couch::{Content, Document, Fields, NodeId, Rev},
    lens::{Lens, Made, Put, PutError},
    schema::{ClassId, Direction},
};

/// How deep the last edit of another document may stand on a path: far from CouchDB's default `_revs_limit` of 1000.
const HORIZON: usize = if cfg!(test) { 4 } else { 100 };

/// The same for an entity as it was read: a path that was cut is as long as the database lets it be, or by one longer if it was read before a
/// client's write that was added to it.
pub(super) fn horizon(entity: &Entity) -> usize {
    let cut = entity.members.iter().filter(|member| member.tree.is_stemmed());
    let lengths = cut.filter_map(|member| Some(member.tree.path(member.tree.winner()?).count()));
    lengths.min().map_or(HORIZON, |limit| HORIZON.min(limit / 2).max(1))
}

/// One leaf that may have edits for one target, over one lens.
pub(super) struct Crossing<'a> {
    pub lens: &'a Lens,
    pub to: Direction,
    pub target: ClassId,
    /// The class whose leaf is looked at.
    pub source: ClassId,
    pub leaf: NodeId,
}

/// What becomes of a target.
enum Carried {
    /// With the revisions of shared documents that its lens looked at.
    Live(Arc<Document>, Vec<Rev>),
    /// The lens makes none of what lives.
    Nothing,
    /// What it is made of is deleted, or its branch has ended.
    Tombstone,
    NotReady,
}

/// What a lens is given: the leaf, and the leaves of its neighbours that go with it.
pub(super) struct Inputs {
    /// In the order of the step; none where there is no live document.
    bodies: Vec<Option<Arc<Document>>>,
    /// Where these bodies stand.
    shown: Vec<Option<NodeId>>,
    revs: Vec<Rev>,
    /// The leaf first: its member, its node, and the edits on its path.
    pub(super) ends: Vec<(usize, NodeId, HashSet<EditId>)>,
}

impl Work<'_> {
    /// Carries every edit over every lens, once.
    pub(super) fn carry(&mut self) -> bool {
        self.outcome.is_waiting = false;
        self.outcome.refusals.clear();
        self.unmade.clear();
        let mut moved = false;
        let mut held_up = self.introduce();
        let mut is_held_up = false;
        for (n, (lens, _)) in self.lenses.clone().into_iter().enumerate() {
            if held_up.contains(&n) {
                is_held_up = true;
                continue;
            }
            let before = self.outcome.writes.len();
            for to in Direction::BOTH {
                let (near, far) = lens.step().sides(to);
                for &target in far {
                    for &source in near {
                        let tree = &self.entity.members[self.member(source)].tree;
                        let mut leaves: Vec<NodeId> = tree.leaves().collect();
                        leaves.sort_by_key(|&leaf| tree.rev(leaf));
                        for leaf in leaves {
                            moved |= self.cross(&Crossing {
                                lens,
                                to,
                                target,
                                source,
                                leaf,
                            });
                        }
                    }
                }
            }
            self.introduced.insert(n);
            if self.outcome.writes.len() > before {
                held_up = self.introduce();
            }
        }
        moved || is_held_up
    }

    fn cross(&mut self, crossing: &Crossing) -> bool {
        let target = self.member(crossing.target);
        let source = self.member(crossing.source);
        if self.has_arrived(source, crossing.leaf, target) {
            return false;
        }
        let Some(mut inputs) = self.inputs(crossing, source) else {
            return false;
        };
        let parent = self.parent(crossing.lens, target, &inputs);
        let seen = parent.map(|parent| self.entity.members[target].edits(parent));
        let seen: HashSet<EditId> = seen.into_iter().flatten().collect();
        if self
            .arriving(source, crossing.leaf, target, |edit| seen.contains(&edit))
            .is_empty()
        {
            return false;
        }
        let Some((old, stand_in)) = self.old(target, parent) else {
            return false;
        };
        self.outlive(crossing, target, parent, &mut inputs);
        let onto = Onto {
            lens: crossing.lens,
            to: crossing.to,
            target: crossing.target,
            at: parent,
        };
        let Some(attached) = self.attached(&onto, &inputs.shown) else {
            return false;
        };
        let on_path = parent
            .map(|parent| self.entity.members[target].edits(parent))
            .unwrap_or_default();
        let missing = self.missing(target, &inputs, &on_path);
        let Some(before) = self.before(crossing, source, &missing) else {
            return false;
        };
        let mut looked_at: Vec<Rev> = Vec::new();
        let (before, saw): (Option<Arc<Document>>, _) = before.unzip();
        let mut is_dropped = false;
        let body = match self.put(crossing, &inputs, old.as_deref(), before.as_deref(), &attached) {
            Ok(Carried::Live(body, shared)) => {
                looked_at.extend(saw.into_iter().chain(shared));
                Some(body)
            }
            // A document that need not be there is not begun with a tombstone.
            Ok(Carried::Nothing | Carried::Tombstone)
                if parent.is_none() && crossing.lens.is_optional(crossing.target) =>
            {
                let unmade = self.missing(target, &inputs, &[]).into_iter();
                self.unmade.extend(unmade.map(|edit| (target, edit)));
                return false;
            }
            Ok(Carried::Nothing) => None,
            Ok(Carried::Tombstone) => {
                is_dropped = !self.entity.members[source].is_deletion(crossing.leaf);
                None
            }
            Ok(Carried::NotReady) => {
                let source = inputs.bodies.first().cloned().flatten();
                if source.is_some_and(|source| self.create_referred(crossing.lens, target, &source)) {
                    return true;
                }
                self.outcome.is_waiting = true;
                return false;
            }
            Err(error) => return self.refuse(target, error),
        };
        let member = &self.entity.members[target];
        let mut path = parent.map(|parent| member.revs(parent)).unwrap_or_default();
        let on_path: Vec<EditId> = path.iter().map(EditId::of).collect();
        let sources = inputs.revs.into_iter().chain(stand_in).chain(attached.revs);
        let sources: Vec<Rev> = sources.chain(looked_at).collect();
        path.reverse();
        for edit in self.fading(target, &on_path) {
            path.push(revision::derived(&member.id, edit, path.last(), &[], Kind::Local));
        }
        revision::mirrored(&member.id, &mut path, &missing, &sources);
        // The edits end nothing by themselves: a mirror that is a tombstone is a client's deletion.
        if let Some(last) = path.last().filter(|_| is_dropped) {
            path.push(member.dropped(last));
        }
        path.reverse();
        self.emit(target, path, body)
    }

    /// A document that a conflict never reached has no branch of its own to end when the source's is closed, and a branch
    /// that holds more than a part does not end with the part's: it lives on, with what the source shows now.
    fn outlive(&self, crossing: &Crossing, target: usize, parent: Option<NodeId>, inputs: &mut Inputs) {
        let source = &self.entity.members[self.member(crossing.source)];
        if !source.at(crossing.leaf).is_tombstone() {
            return;
        }
        let mut live = self.entity.members[target].tree.live();
        let is_only = parent.is_some() && live.next() == parent && live.next().is_none();
        let shown = source
            .tree
            .winner()
            .and_then(|winner| Some((winner, source.at(winner).body.live()?)));
        // A deletion right where the living branch forks off is one of the document itself, not of a side of the conflict.
        let forked = source.tree.parent(crossing.leaf);
        let is_side = !source
            .tree
            .live()
            .any(|leaf| source.tree.path(leaf).any(|node| Some(node) == forked));
        let lives_on = self.nth(crossing) > 0 || is_only && is_side;
        if let Some((winner, body)) = shown.filter(|_| lives_on) {
            inputs.bodies[self.nth(crossing)] = Some(body.clone());
            inputs.shown[self.nth(crossing)] = Some(winner);
            inputs.revs.push(source.tree.rev(winner).clone());
        }
    }

    /// The source's place among the inputs.
    fn nth(&self, crossing: &Crossing) -> usize {
        let (near, _) = crossing.lens.step().sides(crossing.to);
        near.iter()
            .position(|&class| class == crossing.source)
            .unwrap_or_default()
    }

    /// All edits of a leaf that arrive at `target` through it stand on one path there, with all else that both have, but for what was
    /// deleted there, as the leaf knows.
    fn has_arrived(&self, source: usize, leaf: NodeId, target: usize) -> bool {
        let member = &self.entity.members[target];
        if self.is_cut(target) {
            return self
                .arriving(source, leaf, target, |edit| member.holds(edit))
                .is_empty();
        }
        let arriving = self.arriving(source, leaf, target, |_| false);
        let Some(last) = arriving.last() else { return true };
        if !arriving.iter().all(|edit| member.holds(*edit)) {
            return false;
        }
        let from = &self.entity.members[source];
        // What was written last came from the target or a neighbour, which have to be told nothing new: below it may stand what was ended there,
        // and joined here.
        let came_back = |told: NodeId| !self.origins.arrives(from.at(told).edit, member.class, from.class);
        // A branch that has ended needs no counterpart.
        if from.at(leaf).is_tombstone() || from.told(leaf).is_some_and(came_back) {
            return true;
        }
        let mut edits = from.edits(leaf);
        let ended = member.ended(&edits);
        edits.retain(|edit| member.holds(*edit) && self.origins.belongs(*edit, member.class) && !ended.contains(edit));
        let has_all = |node: NodeId| {
            let path: HashSet<EditId> = member.tree.path(node).map(|node| member.at(node).edit).collect();
            edits.iter().all(|edit| path.contains(edit))
        };
        let ends = [Some(last), edits.last()].into_iter().flatten();
        let ends = ends.flat_map(|edit| member.places(*edit).iter().copied());
        ends.chain(member.tree.leaves()).any(has_all)
    }

    /// The edits on the path of a leaf that arrive at `target` through it and are not among those it has, oldest first.
    fn arriving(&self, source: usize, leaf: NodeId, target: usize, has: impl Fn(EditId) -> bool) -> Vec<EditId> {
        let member = &self.entity.members[source];
        let class = self.entity.members[target].class;
        let edits = member.edits(leaf);
        // Where paths were cut, what stands before an edit that the target has was there too, and an edit that nobody here authored
        // may be one that the target has had.
        let is_cut = self.is_cut(target);
        let is_known = |edit: &EditId| has(*edit) && self.origins.belongs(*edit, class);
        let known = if is_cut {
            edits.iter().rposition(is_known).map_or(0, |n| n + 1)
        } else {
            0
        };
        let arrives = |edit: &EditId| {
            self.origins.arrives(*edit, class, member.class)
                && !has(*edit)
                && !(is_cut && self.origins.is_orphan(*edit))
        };
        edits.into_iter().skip(known).filter(arrives).collect()
    }

    /// The edits of the inputs that are not yet on a path, in order; the leaf's last.
    fn missing(&self, target: usize, inputs: &Inputs, on_path: &[EditId]) -> Vec<EditId> {
        let mut seen: HashSet<EditId> = on_path.iter().copied().collect();
        let mut missing = Vec::new();
        let (leaf, others) = inputs.ends.split_at(1);
        for (place, node, _) in others.iter().chain(leaf) {
            for edit in self.arriving(*place, *node, target, |edit| seen.contains(&edit)) {
                if seen.insert(edit) {
                    missing.push(edit);
                }
            }
        }
        missing
    }

    /// `_revs_limit` has cut some path, so that a document that exists may lack what it once had.
    pub(super) fn is_cut(&self, target: usize) -> bool {
        self.is_stemmed && !self.entity.members[target].tree.is_empty()
    }

    /// None while a document that the lens needs is still on its way, or its body must be read first.
    fn inputs(&mut self, crossing: &Crossing, source: usize) -> Option<Inputs> {
        let (near, _) = crossing.lens.step().sides(crossing.to);
        let told = self.told(source, crossing.leaf)?;
        let mut inputs = Inputs {
            bodies: Vec::new(),
            shown: Vec::new(),
            revs: Vec::new(),
            ends: Vec::new(),
        };
        for &class in near {
            let place = self.member(class);
            let (node, end, at) = if place == source {
                (told, crossing.leaf, 0)
            } else if let Some(other) = self.companion(source, crossing.leaf, place) {
                (other, other, inputs.ends.len())
            } else if crossing.lens.awaits(class) {
                self.outcome.is_waiting = true;
                return None;
            } else {
                inputs.bodies.push(None);
                inputs.shown.push(None);
                continue;
            };
            let member = &self.entity.members[place];
            inputs.bodies.push(member.at(node).body.live().cloned());
            inputs.shown.push(Some(node));
            inputs.revs.push(member.tree.rev(node).clone());
            inputs
                .ends
                .insert(at, (place, end, member.edits(end).into_iter().collect()));
        }
        Some(inputs)
    }

    /// The revision whose body a leaf's edits tell: the leaf, or what stands below revisions that only tidy this document and
    /// show what other documents say. None: that body must be read first.
    pub(super) fn told(&mut self, place: usize, leaf: NodeId) -> Option<NodeId> {
        let member = &self.entity.members[place];
        if member.at(leaf).is_tombstone() {
            return Some(leaf);
        }
        let told = member.told(leaf).unwrap_or(leaf);
        match member.at(told).body {
            Body::Live(_) => Some(told),
            Body::Missing | Body::Tombstone => Some(leaf),
            Body::Unread => {
                self.want(place, told);
                None
            }
        }
    }

    pub(super) fn want(&mut self, place: usize, node: NodeId) {
        let member = &self.entity.members[place];
        self.outcome.wants.insert(Want {
            id: member.id.clone(),
            rev: member.tree.rev(node).clone(),
        });
    }

    /// What the other documents show last, where it stands so deep on the target's path (newest first) that `_revs_limit`
    /// may cut it off: then it could no longer be told from an edit that has not arrived. It is written once more.
    fn fading(&self, target: usize, on_path: &[EditId]) -> Vec<EditId> {
        let class = self.entity.members[target].class;
        let mut fading = Vec::new();
        let horizon = self.horizon;
        for member in self
            .entity
            .members
            .iter()
            .filter(|member| on_path.len() > horizon && member.class != class)
        {
            let Some(winner) = member.tree.winner() else { continue };
            let edits = member.edits(winner);
            let last = edits.iter().rev().find_map(|edit| {
                let depth = self
                    .origins
                    .belongs(*edit, class)
                    .then(|| on_path.iter().position(|on| on == edit))??;
                Some((*edit, depth))
            });
            if let Some((edit, _)) = last.filter(|(edit, depth)| *depth >= horizon && !fading.contains(edit)) {
                fading.push(edit);
            }
        }
        fading
    }

    /// What the target was where the new revision branches off. Where compaction has taken that, the winner stands in for it,
    /// and its revision is told. The outer `None`: that body must be read first.
    fn old(&mut self, target: usize, parent: Option<NodeId>) -> Option<(Option<Arc<Document>>, Option<Rev>)> {
        let member = &self.entity.members[target];
        let Some(parent) = parent else {
            return Some((None, None));
        };
        match &member.at(parent).body {
            Body::Live(document) => Some((Some(document.clone()), None)),
            Body::Tombstone => Some((None, None)),
            Body::Unread => {
                self.want(target, parent);
                None
            }
            Body::Missing => {
                let winner = member
                    .tree
                    .winner()
                    .filter(|&winner| member.at(winner).body.live().is_some());
                // Attachments of a revision that is no ancestor are not this branch's to keep.
                let stand_in = winner.and_then(|winner| member.at(winner).body.live()).map(|document| {
                    Arc::new(Document {
                        attachments: None,
                        ..(**document).clone()
                    })
                });
                // Where nothing stands in, that is told too: who has the body makes another document.
                Some((stand_in, Some(member.tree.rev(winner.unwrap_or(parent)).clone())))
            }
        }
    }

    fn put(
        &mut self,
        crossing: &Crossing,
        inputs: &Inputs,
        old: Option<&Document>,
        before: Option<&Document>,
        attached: &Attached,
    ) -> Result<Carried, PutError> {
        let source = &self.entity.members[self.member(crossing.source)];
        let is_resolved = inputs.bodies[self.nth(crossing)].is_none() && source.tree.live().next().is_some();
        if is_resolved || inputs.bodies.first().is_none_or(Option::is_none) {
            return Ok(Carried::Tombstone);
        }
        let sources: Vec<Option<&Fields>> = inputs
            .bodies
            .iter()
            .map(|body| body.as_ref().map(|b| &b.fields))
            .collect();
        let put = Put {
            to: crossing.to,
            target: crossing.target,
            key: &self.entity.key,
            sources: &sources,
            old: old.map(|old| &old.fields),
        };
        let (made, looked_at) = self.made(crossing.lens, &put, Some(&attached.document), before)?;
        Ok(match made {
            Made::Document(fields) => {
                let document = self.document(crossing.target, fields, Some(&attached.document));
                self.fits(crossing.target, &document)?;
                if let (Direction::Up, Some(Some(source))) = (crossing.to, sources.first()) {
                    self.create_embedded(crossing.lens, source, &document, old)?;
                }
                Carried::Live(Arc::new(document), looked_at)
            }
            Made::Nothing => Carried::Nothing,
            Made::NotReady => Carried::NotReady,
        })
    }
}
