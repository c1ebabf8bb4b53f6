//! What becomes of attachments: a derived revision has those that its document had, with what the source's edits changed of them.
//!
//! They are told apart by name, and compared by digest and type. A name that the source's edits added, replaced or deleted is so
//! in the target too; what only the target has stays. The inputs of a lens are one here: where several have a name, that of
//! the first counts. Where a side has several documents, what is added enters its first; the others change only what they share.
//! Through a class that omits attachments nothing passes: what it has is its own.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Body, Work,
    revision::{EditId, Kind},
};
use crate::{
    couch::{Attachment, Attachments, Document, NodeId, Rev, attachments::Form},
    lens::Lens,
    schema::{ClassId, Direction},
};

/// An attachment of a derived revision whose bytes its document does not have yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Its name, as in the body.
    pub name: String,
    /// The document that has them,
    pub id: String,
    /// in this revision,
    pub rev: Rev,
    /// under this name.
    pub source: String,
}

/// The node of a target onto which a lens puts.
pub(super) struct Onto<'a> {
    pub lens: &'a Lens,
    pub to: Direction,
    pub target: ClassId,
    pub at: Option<NodeId>,
}

/// The attachments that a target will have.
#[derive(Default)]
pub(super) struct Attached {
    /// Nothing but them.
    pub document: Document,
    /// Revisions that told what had changed: with others the answer could be another.
    pub bases: Vec<Rev>,
}

/// What the inputs had when the target was last put.
enum Base {
    Known(Attachments),
    /// Compaction has taken it.
    Lost,
}

impl Work<'_> {
    /// `shown` are the nodes of the inputs that the lens is given, in the order of the step. None: a body must be read first.
    pub(super) fn attached(&mut self, onto: &Onto, shown: &[Option<NodeId>]) -> Option<Attached> {
        let (near, far) = onto.lens.step().sides(onto.to);
        let target = self.member(onto.target);
        let is_live = |(class, node): (&ClassId, &Option<NodeId>)| {
            node.is_some_and(|node| self.entity.members[self.member(*class)].at(node).body.live().is_some())
        };
        // Nothing is made of what has no first input.
        if !near.iter().zip(shown).next().is_some_and(is_live) {
            return Some(Attached::default());
        }
        let own = onto.at.and_then(|at| self.entity.members[target].at(at).body.live());
        let kept = own.and_then(|own| own.attachments.clone());
        let mine = own.map(|own| Attachments::of(own).unwrap_or_default());
        let omits = |class: ClassId| self.registry.class(class).omits_attachments;
        let inputs: Vec<(usize, NodeId)> = near
            .iter()
            .zip(shown)
            .filter(|(class, _)| !omits(**class) && !omits(onto.target))
            .filter_map(|(class, node)| Some((self.member(*class), (*node)?)))
            .collect();
        let is_first = far.first() == Some(&onto.target);
        let theirs = united(inputs.iter().filter_map(|&(place, node)| self.attachments(place, node)));
        let keeping = |attachments| Attached {
            document: Document {
                attachments,
                ..Document::default()
            },
            bases: Vec::new(),
        };
        let Some(mine) = mine else {
            return Some(keeping(theirs.written().filter(|_| is_first)));
        };
        if inputs.is_empty() || theirs.is_same(&mine) || !is_first && mine.is_empty() {
            return Some(keeping(kept));
        }
        let (base, bases) = self.base(target, onto.at, &inputs)?;
        let result = match (base, is_first) {
            (Base::Known(base), true) => put(&mine, &base, &theirs, far.len() == 1),
            (Base::Known(base), false) => put_shared(&mine, &base, &theirs),
            // They agreed.
            (Base::Lost, true) => put(&mine, &mine, &theirs, true),
            (Base::Lost, false) => only(&mine, |name| theirs.get(name).is_some()),
        };
        let attachments = if result.is_same(&mine) { kept } else { result.written() };
        Some(Attached {
            bases,
            ..keeping(attachments)
        })
    }

    fn attachments(&self, place: usize, node: NodeId) -> Option<Attachments> {
        Attachments::of(self.entity.members[place].at(node).body.live()?)
    }

    /// What the inputs had before the edits that the target has not seen, and the revisions that say so.
    fn base(&mut self, target: usize, at: Option<NodeId>, inputs: &[(usize, NodeId)]) -> Option<(Base, Vec<Rev>)> {
        let seen: HashSet<EditId> = at
            .map(|at| self.entity.members[target].edits(at).into_iter().collect())
            .unwrap_or_default();
        let (mut had, mut revs, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_lost = false;
        for &(place, node) in inputs {
            let Some(known) = self.before(place, node, &seen) else {
                continue;
            };
            let member = &self.entity.members[place];
            match &member.at(known).body {
                Body::Live(document) => had.extend(Attachments::of(document)),
                Body::Tombstone => {}
                Body::Missing => is_lost = true,
                Body::Unread => unread.push((place, known)),
            }
            if known != node {
                revs.push(member.tree.rev(known).clone());
            }
        }
        for &(place, node) in &unread {
            self.want(place, node);
        }
        if is_lost {
            revs.clear();
        }
        let base = if is_lost {
            Base::Lost
        } else {
            Base::Known(united(had.into_iter()))
        };
        unread.is_empty().then_some((base, revs))
    }

    /// What stands on the path of `node` below the edits that were not seen; none if none was.
    fn before(&self, place: usize, node: NodeId, seen: &HashSet<EditId>) -> Option<NodeId> {
        let member = &self.entity.members[place];
        let is_told = |&at: &NodeId| member.at(at).kind != Kind::Local;
        let path: Vec<NodeId> = member.tree.path(node).collect();
        let last = path
            .iter()
            .position(|at| is_told(at) && seen.contains(&member.at(*at).edit))?;
        let Some(oldest) = path[..last].iter().rposition(is_told) else {
            return Some(path[last]);
        };
        // What settling showed is what the author saw.
        let mut below = path[oldest + 1..last].iter().copied();
        let stands = |at: &NodeId| !matches!(member.at(*at).body, Body::Missing);
        below.find(stands).or(Some(path[last]))
    }

    /// Tells for each derived revision which attachments its document has not: a stub is good only for what an ancestor holds
    /// (CouchDB compares name and `revpos`, and takes the nearest ancestor it still has).
    pub(super) fn find_bytes(&mut self) {
        if !self.outcome.writes.iter().any(super::Write::has_attachments) {
            return;
        }
        let held = self.held();
        for n in 0..self.outcome.writes.len() {
            let write = &self.outcome.writes[n];
            let (Some(place), Some(top)) = (self.entity.position(&write.id), write.path.first()) else {
                continue;
            };
            let tree = &self.entity.members[place].tree;
            let Some(mut attachments) = write.body.as_deref().and_then(Attachments::of) else {
                continue;
            };
            let ancestors = write.path[1..].iter().filter_map(|rev| tree.find(rev));
            let nearest = ancestors
                .map(|node| &tree.content(node).body)
                .find(|body| !matches!(body, Body::Missing));
            let stored = nearest.and_then(Body::live).and_then(|body| Attachments::of(body));
            let (generation, mut incoming) = (top.generation(), Vec::new());
            for (name, attachment) in attachments.clone().iter() {
                let stub = stored.as_ref().and_then(|stored| stored.get(name));
                if let Some(stub) = stub.filter(|stub| stub.is_same(attachment)) {
                    let form = Form::Stub;
                    attachments.set(name, Attachment { form, ..stub.clone() });
                } else if let Some((id, rev, source)) = held.get(&*attachment.digest) {
                    let (form, revpos) = (Form::Follows, generation);
                    let follows = Attachment {
                        form,
                        revpos,
                        ..attachment.clone()
                    };
                    attachments.set(name, follows);
                    incoming.push(Incoming {
                        name: name.to_owned(),
                        id: id.clone(),
                        rev: rev.clone(),
                        source: source.clone(),
                    });
                } else {
                    // Nobody has it any more.
                    attachments.remove(name);
                }
            }
            let node = tree.find(top);
            let body = Arc::new(Document {
                attachments: attachments.written(),
                ..write.body.as_deref().cloned().unwrap_or_default()
            });
            if let Some(node) = node {
                self.entity.members[place].tree.content_mut(node).body = Body::Live(body.clone());
            }
            let write = &mut self.outcome.writes[n];
            (write.body, write.incoming) = (Some(body), incoming);
        }
    }

    /// Where bytes are, by digest: in revisions that were read, best in leaves, which compaction leaves alone.
    fn held(&self) -> HashMap<String, (String, Rev, String)> {
        let derived: HashSet<(&str, &Rev)> = self
            .outcome
            .writes
            .iter()
            .filter_map(|write| Some((&*write.id, write.path.first()?)))
            .collect();
        let mut held = HashMap::new();
        for member in &self.entity.members {
            for node in member.tree.leaves().chain(member.tree.nodes()) {
                let (rev, body) = (member.tree.rev(node), &member.at(node).body);
                let Some(attachments) = body.live().and_then(|body| Attachments::of(body)) else {
                    continue;
                };
                if derived.contains(&(&*member.id, rev)) {
                    continue;
                }
                for (name, attachment) in attachments.iter() {
                    held.entry(attachment.digest.clone())
                        .or_insert_with(|| (member.id.clone(), rev.clone(), name.to_owned()));
                }
            }
        }
        held
    }
}

/// Of one name the first.
fn united(all: impl Iterator<Item = Attachments>) -> Attachments {
    let mut united = Attachments::default();
    for attachments in all {
        for (name, attachment) in attachments.iter() {
            if united.get(name).is_none() {
                united.set(name, attachment.clone());
            }
        }
    }
    united
}

fn is_same(a: Option<&Attachment>, b: Option<&Attachment>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.is_same(b),
        (None, None) => true,
        _ => false,
    }
}

fn only(attachments: &Attachments, is_kept: impl Fn(&str) -> bool) -> Attachments {
    let mut kept = attachments.clone();
    for (name, _) in attachments.iter().filter(|(name, _)| !is_kept(name)) {
        kept.remove(name);
    }
    kept
}

/// What changed from `base` to `theirs`, changed in `mine`. A target that holds all that its inputs hold (`is_whole`) gets what
/// it lacks, too.
fn put(mine: &Attachments, base: &Attachments, theirs: &Attachments, is_whole: bool) -> Attachments {
    let is_changed = |name: &str| !is_same(base.get(name), theirs.get(name));
    let mut put = only(mine, |name| theirs.get(name).is_some() || !is_changed(name));
    for (name, attachment) in theirs.iter() {
        let own = mine.get(name);
        if (is_changed(name) || is_whole && own.is_none()) && !is_same(own, Some(attachment)) {
            put.set(name, attachment.clone());
        }
    }
    put
}

/// The same where the target is not the first of its side: what it has as the source had it follows the source.
fn put_shared(mine: &Attachments, base: &Attachments, theirs: &Attachments) -> Attachments {
    let mut put = mine.clone();
    for (name, own) in mine.iter().filter(|(name, own)| is_same(base.get(name), Some(own))) {
        match theirs.get(name) {
            Some(attachment) if !attachment.is_same(own) => put.set(name, attachment.clone()),
            Some(_) => {}
            None => put.remove(name),
        }
    }
    put
}
