//! How versions stay in step: the pure function from an entity's revision trees to the revisions that are missing.
//!
//! Migration is replication with a lens in the middle. An edit that a client authored in one class is *carried* into
//! every other class it reaches, as a revision whose hash tells which edit it mirrors ([`revision`]). Whether a document has
//! an edit is read off its tree; so reconciling is idempotent, any number of proxies may do it at once, and a crash is repaired
//! by whoever looks next. What carrying alone cannot put right, because proxies raced or clients made a conflict, is *settled* in
//! each document by itself.
//!
//! # The rules
//!
//! Carrying takes every leaf over every lens to every document on the far side:
//!
//! 1. A leaf has *arrived* when all its edits that reach the target through it stand on one path there, but for those of a branch that a
//!    client has deleted there, as the leaf knows. If what it says last came from elsewhere, it is enough that they are there.
//! 2. A document that the lens waits for, and that does not exist, stops it: the entity is *waiting*.
//! 3. The *parent* of the new revision is the node of the target with most of the leaf's edits on whose path every edit has been
//!    seen: for an edit that belongs to the leaf's class the leaf's own path decides, for others that of the other
//!    inputs; and whoever has an edit that was authored in the target has seen what stands below it there. The end of another branch, which the
//!    target has outlived, nobody has to have seen. A leaf is a fast-forward, an inner node a conflict. The other inputs are those leaves that have
//!    seen the same edits, dead ones beside a dead leaf, else their winners.
//! 4. The body is put by the lens into what stands at the parent; a deleted primary, and a branch that was closed while its
//!    document lives on, make a tombstone. But a document that the conflict never reached, and one that holds more than the part whose
//!    branch was closed, live on with what the source shows. What the lens reads of a leaf is what was authored or mirrored there, not what
//!    settling has laid on top.
//! 5. The path grows by one node for each edit that is missing on it, the leaf's last on top. A mirror that is a tombstone is a client's deletion: what
//!    ended otherwise ends by a local revision on top of its edits.
//! 6. A part that need not exist (an *optional* one) ends with a tombstone where the lens makes nothing of it, but never begins
//!    with one: such edits are *unmade*, and of these its author knows, whatever its own path says.
//! 7. Attachments go past the lens: what the inputs have under a name, the target has too (`attach`). Bytes that its document
//!    lacks are told with the revision, and where they are.
//!
//! Then each document is settled, in revisions that are never carried: leaves that are *behind* another one, or were *rejected* or
//! *ended* elsewhere, end, an optional part's only one too; a merged document whose branches only racing proxies made is *joined*, and *revived*
//! where these have ended them all; and along [`Registry::flow`] documents *agree* on the winner of a conflict.
//!
//! When all that is done, two living sides of a conflict that have changed different fields are *merged*, in the finest classes and if
//! these ask for it ([`Class::merges_fields`](crate::schema::Class::merges_fields)), exactly as if a client had resolved them: by an edit on one side,
//! where that does not say all already, and a deletion of the other. Both are edits of their own and carried like a client's; coarser classes follow.
//! The base of the merge is what has seen exactly the edits that both sides have. Which two sides an edit of ours merged is read off its hash, so
//! a side that went on, or was merged in several ways elsewhere, is merged again without a clash of what both have; where sides crossed, the base is itself
//! made of what they have in common. A conflict stays where a body that it takes is gone, where paths were cut before the fork, where another of the finest
//! documents has the same conflict and cannot merge it, and where what older classes make of the result does not fit them or depends on the side
//! it stands on: then it would lose what only they know.
//!
//! A document of another entity that is embedded in one class and referred to in the next ([`Share`](crate::lens::Share)) is an input
//! beside the leaf: what is embedded newly is *created*, once, and what embeds it *follows*; each in `share.rs`.
//!
//! Documents of one entity that nobody ever carried between have no edit in common. Where they are older than the first proxy, so that a backfill finds them
//! ([`Entity::has_copies`]), they are brought together once, the newest on top of the older ones, and are no conflict (`adopt.rs`).
//!
//! An edit that nobody here authored (an *orphan*: a device restored only its newest class) is carried from its newest holder.
//! Where `_revs_limit` has cut paths, absence proves nothing: an edit that both sides have vouches for what stood before it, and
//! the last edit of each other document is written again before it can fall off: at half the length to which paths were cut.
//!
//! # What is proven, and how far
//!
//! The tests generate histories over a model of CouchDB's revision trees and shrink those that fail, for five apps: one whose
//! schema split a document (the todo app of `schemas/`), one whose schema merged two, both with a part that need not exist, and one whose schema
//! shares a document. 10,000 histories of each kind were run while the rules grew (`PROPTEST_RNG_SEED=17 PROPTEST_CASES=10000 cargo test --lib reconcile`;
//! without, the same 256 every time), and since the last rule changed 2,000 of each, 6,000 of racing proxies, of masters and of resolving:
//!
//! * edits made one after another, in any mix of versions, never conflict, and all versions agree after each;
//! * so too while histories are stemmed, to four revisions or more, and compacted, for clients that keep up;
//! * racing proxies with stale reads leave no conflict that no client made, nor one of what any version writes next;
//! * two masters with six offline clients, stale and crashing proxies come to rest with the same trees and bodies, every
//!   version shows the same winner, and no edit is missing from any document that it must reach;
//! * a device that restores only its newest class brings everything back, and the servers agree when they meet;
//! * concurrent edits are a conflict in every version with the same winner, and resolving it in any version, by any client, resolves
//!   it in all;
//! * the primary documents of all versions have the same attachments, and no stub is written of what a document does not have;
//! * whoever then resolves all conflicts of one version's documents, in one push or one document after another, resolves them in all, for good:
//!   proxies may race with whoever keeps the winners; where a part need not exist they have to be kept; where fields are merged it has to be
//!   one push, or what is merged in between is in conflict with it;
//! * whatever part of a fan-out arrives, and what is referred to arrives before what refers to it, looking again loses nothing and ends in agreement; a second look finds nothing.
//!
//! Of shared documents further: older versions' copies, however old, change no reference and create nothing, as long as the revision that their
//! author saw is known.
//!
//! All of them were run with merging on, off, and on for one of two masters (3,000 histories of each kind, 600 of edits made one
//! after another and of stemmed histories), and beside them
//! (`PROPTEST_CASES=3000 cargo test --lib reconcile::tests::merging`):
//!
//! * three clients of any versions that write about different things while they are offline leave no conflict in any version once they are
//!   back, and every version shows what all have written;
//! * so too while they go on, proxies race, and masters of which one may not merge meet at any time; but where a lens makes one document of several,
//!   or a part need not exist, a conflict may stay, in which everything is told.
//!
//! A merge of which only the revisions in older classes arrived, as when a batch is torn, may take one look more to be at rest. Where the sides of
//! a conflict are merged before a part of them clashes, versions that see documents merged do not know that the part is in conflict.
//!
//! Whoever keeps losers of some documents while proxies race with that may leave a part in conflict (seen once in a thousand), and where a part
//! need not exist, versions may then show it differently.
//!
//! What a document in conflict shows agrees for the primary documents of all versions. Of a part (a todo's status, a person's address)
//! the merged document may show the loser, where the winner's branch has met a deletion: seen in some of 10,000
//! histories of the merging schema.
//!
//! An optional part holds every edit that told something to it when it was the last of its branch. Of two sides of a conflict the
//! one that removes such a part gives way to the one that changes it, as deletions do in CouchDB.
//! Where `_revs_limit` cuts histories to a dozen revisions, an edit that an optional part was not made of may reach it so late that the
//! next one is a conflict there: seen once in 10,000 histories, and once in 8,000 where it cuts them to four. Two more of these showed a person without the address that another
//! version had written meanwhile; what joins them now has been run on a few hundred histories only.
//!
//! Where proxies raced, the document was then deleted, and an older version brings it back, a part can be left in conflict with what it
//! was before the deletion: seen once.
//!
//! Of copies that were in several versions before (4,000 histories of each kind, `tests/adoption.rs`): equal or edited apart, whole or compacted, they are
//! in step after one look with no conflict, the newest says what it said, and what each had stands below; nothing that is written afterwards
//! is lost or in conflict; two masters with stale proxies, to which nobody writes before they have looked, come to rest with the same trees and agree,
//! and a look that is torn or a document between two others that is missing is mended, unless a part need not exist: then a conflict may stay, or older
//! versions show what was deleted. What is written to a copy before anybody has looked is in conflict with the others. A copy whose history `_revs_limit`
//! has cut is in conflict with the others, as it may have been carried.
//!
//! Not proven: lenses that fail (their edits are refused and everything else carried), attachments of parts, merging of fields together with
//! shared documents beyond what every run of the tests tries, more than two inputs, schemas
//! in which both sides of a lens have several classes, several versions creating one key without knowing of each other (nothing is lost,
//! but versions may show different winners until the conflict is resolved), edit ids that collide (48 bits within one entity).

mod adopt;
mod attach;
mod carry;
mod companion;
pub mod entity;
mod merge;
mod origin;
mod parent;
pub mod revision;
mod settle;
mod share;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde::{Serialize, Serializer};

use crate::{
    couch::{Document, NodeId, Rev, document::Written},
    lens::{Lens, PutError},
    schema::{ClassId, Direction, Registry, Violation},
};
pub use attach::Incoming;
use companion::Companions;
pub use entity::{Body, Entity, Member};
use origin::Origins;
use revision::EditId;
pub use share::references;

/// A revision that is missing, to be written with `new_edits: false`.
#[derive(Clone, Debug)]
pub struct Write {
    /// The document.
    pub id: String,
    /// The revision and its ancestors, newest first.
    pub path: Vec<Rev>,
    /// The document's fields and attachments; none for a tombstone.
    pub body: Option<Arc<Document>>,
    /// The attachments whose bytes have to be sent with it, in the order of the body.
    pub incoming: Vec<Incoming>,
    /// Others refer to it: it has to be there before they are.
    pub is_referred_to: bool,
}

/// A body that must be read before the revision on top of it can be made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Want {
    /// The document.
    pub id: String,
    /// The inner revision.
    pub rev: Rev,
}

/// A document of another entity that must be read: put it among those that are shared and reconcile again, instead of writing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Need {
    /// Its class.
    pub class: ClassId,
    /// Its id.
    pub id: String,
}

/// An edit that a lens could not carry, or not into a document that fits its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The document that lacks the edit.
    pub target: String,
    /// Why.
    pub error: PutError,
}

/// What reconciling found.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The missing revisions, in the order in which they build on each other.
    pub writes: Vec<Write>,
    /// Bodies to read first: put them into the entity and reconcile again, instead of writing.
    pub wants: HashSet<Want>,
    /// Shared documents to read first, likewise.
    pub needs: HashSet<Need>,
    /// Edits that no lens could carry; everything else was carried.
    pub refusals: Vec<Refusal>,
    /// A document that a lens needs does not exist yet.
    pub is_waiting: bool,
    /// It was given up while something still moved: a defect, of a rule here or of a lens.
    pub is_restless: bool,
}

/// Rounds after which an entity that still changes is given up: each round carries every edit one class further, so more than
/// this means that the rules contradict each other.
const ROUNDS: usize = 64;

/// Finds every revision that is missing in an entity. The writes are in `entity` too when it returns.
pub fn reconcile(registry: &Registry, lenses: &[Lens], entity: &mut Entity) -> Outcome {
    let mut origins = Origins::find(registry, entity);
    let is_tied = |(lens, _): &(&Lens, _)| {
        entity
            .members
            .iter()
            .any(|member| lens.step().old.contains(&member.class))
    };
    let flows = (0..).map(|step| registry.flow(step));
    let lenses: Vec<_> = lenses.iter().zip(flows).filter(is_tied).collect();
    origins.find_adopted(lenses.iter().map(|(lens, _)| *lens), entity);
    let is_stemmed = entity.members.iter().any(|member| member.tree.is_stemmed());
    let mut work = Work {
        is_stemmed,
        horizon: carry::horizon(entity),
        untold: HashMap::new(),
        unmade: HashSet::new(),
        introduced: HashSet::new(),
        companions: Companions::default(),
        registry,
        lenses,
        entity,
        origins,
        outcome: Outcome::default(),
    };
    for _ in 0..ROUNDS {
        if work.ask_for_shared() {
            return work.outcome;
        }
        // A document is tidied only when every edit that can reach it has.
        let moved = work.carry()
            || work.outcome.wants.is_empty()
                && (work.drop_behind() | work.drop_rejected() | work.drop_ended() | work.align() | work.follow()
                    || work.merge());
        if !moved {
            work.find_bytes();
            return work.outcome;
        }
    }
    work.find_bytes();
    work.outcome.is_restless = true;
    work.outcome
}

/// A reconciliation under way.
struct Work<'a> {
    registry: &'a Registry,
    /// Those of this entity, with the direction in which their documents follow each other.
    lenses: Vec<(&'a Lens, Option<Direction>)>,
    entity: &'a mut Entity,
    origins: Origins<'a>,
    /// Some path does not reach back to its first revision.
    is_stemmed: bool,
    /// How deep the last edit of a document may stand on another one's path before it is written again.
    horizon: usize,
    /// See [`Work::candidates`]: for a target and inputs, how many nodes were looked at, and which of them have an edit that belongs to
    /// none of these.
    untold: HashMap<(usize, Vec<usize>), (usize, Vec<NodeId>)>,
    /// For each document that need not exist, the edits of which it was not made.
    unmade: HashSet<(usize, EditId)>,
    /// The lenses over which it was tried to carry.
    introduced: HashSet<usize>,
    companions: Companions,
    outcome: Outcome,
}

impl Work<'_> {
    /// Writes a revision, unless it is there already.
    fn emit(&mut self, member: usize, path: Vec<Rev>, body: Option<Arc<Document>>) -> bool {
        emit(&mut self.entity.members[member], &mut self.outcome, path, body, false)
    }

    /// Notes what could not be made of a document. Nothing has moved.
    fn refuse(&mut self, member: usize, error: PutError) -> bool {
        let target = self.entity.members[member].id.clone();
        self.outcome.refusals.push(Refusal { target, error });
        false
    }

    /// Ends a branch of this document alone.
    fn drop_leaf(&mut self, member: usize, leaf: NodeId) -> bool {
        let at = &self.entity.members[member];
        let mut path = vec![at.dropped(at.tree.rev(leaf))];
        path.extend(at.revs(leaf));
        self.emit(member, path, None)
    }

    fn member(&self, class: ClassId) -> usize {
        // A step's classes are all of one entity, so the place is always found.
        self.entity
            .members
            .iter()
            .position(|member| member.class == class)
            .unwrap_or_default()
    }

    /// The places of a step's classes.
    fn members(&self, classes: &[ClassId]) -> Vec<usize> {
        classes.iter().map(|&class| self.member(class)).collect()
    }

    /// Whether a document that was made fits its class.
    fn fits(&self, class: ClassId, document: &Document) -> Result<(), Violation> {
        let class = self.registry.class(class);
        let id = class.pattern.id(&self.entity.key);
        class.validator.check(&id, document.fields.iter())
    }

    /// A lens's answer as a document: engine's fields set, with the attachments of `old`.
    fn document(&self, class: ClassId, mut fields: crate::couch::Fields, old: Option<&Document>) -> Document {
        for (name, value) in self.registry.class(class).name.fields() {
            fields.set(name, value);
        }
        Document {
            fields,
            attachments: old.and_then(|old| old.attachments.clone()),
            ..Document::default()
        }
    }
}

fn emit(
    member: &mut Member,
    outcome: &mut Outcome,
    path: Vec<Rev>,
    body: Option<Arc<Document>>,
    is_referred_to: bool,
) -> bool {
    let body = body.map(|body| attach::on_top(member, &path, body));
    let stored = body.clone().map_or(Body::Tombstone, Body::Live);
    if path.first().is_none_or(|rev| member.tree.find(rev).is_some()) {
        return false;
    }
    member.insert(&path, stored, Body::Missing);
    outcome.writes.push(Write {
        id: member.id.clone(),
        path,
        body,
        incoming: Vec::new(),
        is_referred_to,
    });
    true
}

impl Outcome {
    /// Nothing has to be read first: the writes are all that is missing.
    pub fn is_complete(&self) -> bool {
        self.wants.is_empty() && self.needs.is_empty()
    }
}

impl Write {
    /// There is something that CouchDB may find missing.
    pub fn has_attachments(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.attachments.is_some())
    }

    /// Writes the fields alone.
    pub fn drop_attachments(&mut self) {
        if let Some(body) = &mut self.body {
            Arc::make_mut(body).attachments = None;
        }
    }
}

impl Serialize for Write {
    /// The document for `_bulk_docs`.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let document = Written {
            id: Some(&self.id),
            rev: self.path.first(),
            revisions: &self.path,
            deleted: self.body.is_none(),
            body: self.body.as_deref(),
        };
        document.serialize(to)
    }
}

#[cfg(test)]
mod tests;
