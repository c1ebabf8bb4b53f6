//! What becomes of attachments: of one entity every version has the same, by name, digest and type.
//!
//! The inputs of a lens are one here: where several have a name, that of the first counts. A target has what they have: what the
//! source's edits added, replaced or deleted is so in the target too, and so is what settling or another branch had brought there.
//! What clients have put into the target itself, and what has never come to the source, stays (it came while its class omitted
//! attachments, say): that is told by what the source had before its edits.
//!
//! Where a side has several documents, what is new enters the first, unless another has it; the others change only what they share
//! with the source. Through a class that omits attachments nothing passes: what it has is its own.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Body, Member, Work,
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
    /// Revisions, beside those of the inputs and the target, that decided: with others they could be others.
    pub revs: Vec<Rev>,
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
        let omits = |class: ClassId| self.registry.class(class).omits_attachments;
        let inputs: Vec<(usize, NodeId)> = near
            .iter()
            .zip(shown)
            .filter(|(class, _)| !omits(**class) && !omits(onto.target))
            .filter_map(|(class, node)| Some((self.member(*class), (*node)?)))
            .collect();
        let own = onto.at.and_then(|at| self.entity.members[target].at(at).body.live());
        let kept = own.and_then(|own| own.attachments.clone());
        let mine = own.map(|own| Attachments::of(own).unwrap_or_default());
        let theirs = united(inputs.iter().filter_map(|&(place, node)| self.attachments(place, node)));
        let is_first = far.first() == Some(&onto.target);
        let having = |attachments, revs| Attached {
            document: Document {
                attachments,
                ..Document::default()
            },
            revs,
        };
        let (Some(mine), Some(at)) = (mine, onto.at) else {
            return Some(having(theirs.written().filter(|_| is_first), Vec::new()));
        };
        if inputs.is_empty() || theirs.is_same(&mine) || !is_first && mine.is_empty() {
            return Some(having(kept, Vec::new()));
        }
        let (base, mut revs) = if mine.iter().any(|(name, own)| {
            let is_as_theirs = theirs.get(name).is_some_and(|attachment| attachment.is_same(own));
            !is_as_theirs && (!is_first || self.is_own(target, at, own))
        }) {
            self.base(target, at, &inputs)?
        } else {
            (Base::Lost, Vec::new())
        };
        let mut result = mine.clone();
        for (name, own) in mine.iter() {
            let theirs = theirs.get(name);
            let had = match &base {
                Base::Known(base) => Some(base.get(name)),
                Base::Lost => None,
            };
            let is_kept = match had {
                _ if is_same(theirs, Some(own)) => true,
                Some(had) if self.is_own(target, at, own) => is_same(had, theirs),
                _ => false,
            };
            // What another document of this side has counts before what this one has.
            let is_hidden = !is_first && theirs.is_some() && !had.is_some_and(|had| is_same(had, Some(own)));
            match theirs {
                _ if is_kept || is_hidden => {}
                Some(attachment) => result.set(name, attachment.clone()),
                None => result.remove(name),
            }
        }
        for (name, attachment) in theirs.iter().filter(|(name, _)| is_first && mine.get(name).is_none()) {
            match self.sibling(far, onto.target, name, attachment) {
                Some(rev) => revs.push(rev),
                None => result.set(name, attachment.clone()),
            }
        }
        let attachments = if result.is_same(&mine) { kept } else { result.written() };
        Some(having(attachments, revs))
    }

    /// Clients have put it into the document itself. Where its history does not reach back, that cannot be ruled out.
    fn is_own(&self, place: usize, at: NodeId, attachment: &Attachment) -> bool {
        let member = &self.entity.members[place];
        let mut path = member.tree.path(at);
        let came = path.find(|&node| member.tree.rev(node).generation() == attachment.revpos);
        came.is_none_or(|node| matches!(member.at(node).kind, Kind::Authored | Kind::Merge))
    }

    /// The revision of another document of the target's side that has an attachment.
    fn sibling(&self, side: &[ClassId], target: ClassId, name: &str, attachment: &Attachment) -> Option<Rev> {
        let others = side.iter().filter(|class| **class != target);
        others.map(|&class| self.member(class)).find_map(|place| {
            let tree = &self.entity.members[place].tree;
            let winner = tree.winner()?;
            let held = self.attachments(place, winner)?;
            is_same(held.get(name), Some(attachment)).then(|| tree.rev(winner).clone())
        })
    }

    fn attachments(&self, place: usize, node: NodeId) -> Option<Attachments> {
        Attachments::of(self.entity.members[place].at(node).body.live()?)
    }

    /// What the inputs had before the edits that the target has not seen, and the revisions that say so.
    fn base(&mut self, target: usize, at: NodeId, inputs: &[(usize, NodeId)]) -> Option<(Base, Vec<Rev>)> {
        let seen: HashSet<EditId> = self.entity.members[target].edits(at).into_iter().collect();
        let (mut had, mut revs, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_lost = false;
        for &(place, node) in inputs {
            let Some(known) = self.seen_below(target, place, node, &seen) else {
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

    /// What stands on the path of `node` below the edits that the target has not seen; none if it has seen none.
    fn seen_below(&self, target: usize, place: usize, node: NodeId, seen: &HashSet<EditId>) -> Option<NodeId> {
        let member = &self.entity.members[place];
        let class = self.entity.members[target].class;
        let path: Vec<NodeId> = member.tree.path(node).collect();
        let is_told = |at: &NodeId| member.at(*at).kind != Kind::Local;
        let is_seen = |at: &NodeId| is_told(at) && seen.contains(&member.at(*at).edit);
        let is_new = |at: &NodeId| {
            let edit = member.at(*at).edit;
            let is_known = seen.contains(&edit) || self.unmade.contains(&(target, edit));
            is_told(at) && !is_known && self.origins.belongs(edit, class)
        };
        // Branches hold the same edits in other orders. But where paths were cut, what was not seen may only have been forgotten.
        let newest = path.iter().position(is_seen)?;
        let above = if self.is_stemmed { newest } else { path.len() };
        let Some(oldest) = path[..above].iter().rposition(is_new) else {
            return Some(path[newest]);
        };
        let last = oldest + 1 + path[oldest + 1..].iter().position(is_seen)?;
        // What settling showed is what the author saw; nobody writes on top of what it ended.
        let mut below = path[oldest + 1..last].iter().copied();
        let is_shown = |at: &NodeId| matches!(member.at(*at).body, Body::Live(_) | Body::Unread);
        below.find(is_shown).or(Some(path[last]))
    }

    /// Tells for each derived revision where the bytes are that its document does not have.
    pub(super) fn find_bytes(&mut self) {
        if !self.outcome.writes.iter().any(super::Write::has_attachments) {
            return;
        }
        let held = self.held();
        for write in &mut self.outcome.writes {
            let Some(mut attachments) = write.body.as_deref().and_then(Attachments::of) else {
                continue;
            };
            let mut is_whole = true;
            for (name, attachment) in attachments.clone().iter() {
                match held.get(&*attachment.digest) {
                    _ if attachment.form == Form::Stub => {}
                    Some((id, rev, source)) => write.incoming.push(Incoming {
                        name: name.to_owned(),
                        id: id.clone(),
                        rev: rev.clone(),
                        source: source.clone(),
                    }),
                    None => {
                        // Nobody has it any more.
                        attachments.remove(name);
                        is_whole = false;
                    }
                }
            }
            if let Some(body) = write.body.as_mut().filter(|_| !is_whole) {
                Arc::make_mut(body).attachments = attachments.written();
            }
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

/// The body as it is written on top of a path, newest first: a stub is good only for what an ancestor has (CouchDB compares name and
/// `revpos`, and takes the nearest ancestor that it still holds); all else comes with the revision.
pub(super) fn on_top(member: &Member, path: &[Rev], body: Arc<Document>) -> Arc<Document> {
    let (Some(mut attachments), Some(top)) = (Attachments::of(&body), path.first()) else {
        return body;
    };
    let ancestors = path[1..].iter().filter_map(|rev| member.tree.find(rev));
    let nearest = ancestors
        .map(|node| &member.at(node).body)
        .find(|body| !matches!(body, Body::Missing));
    let stored = nearest.and_then(Body::live).and_then(|body| Attachments::of(body));
    for (name, attachment) in attachments.clone().iter() {
        let stub = stored.as_ref().and_then(|stored| stored.get(name));
        let attachment = match stub.filter(|stub| stub.is_same(attachment)) {
            Some(stub) => Attachment {
                form: Form::Stub,
                ..stub.clone()
            },
            None => Attachment {
                form: Form::Follows,
                revpos: top.generation(),
                ..attachment.clone()
            },
        };
        attachments.set(name, attachment);
    }
    Arc::new(Document {
        attachments: attachments.written(),
        ..(*body).clone()
    })
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
