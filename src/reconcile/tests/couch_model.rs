//! A model of what CouchDB keeps of documents: trees of parents, bodies, stemming and compaction. Written apart from
//! [`crate::couch::RevTree`], so that the two cannot share a mistake.

use std::collections::{BTreeMap, BTreeSet};

use super::apps::App;
use crate::{
    couch::{Attachment, Attachments, Document, Rev, attachments::Form},
    reconcile::{Body, Entity, Member, Outcome, Write, reconcile, revision::Kind},
};

#[derive(Clone, Default, PartialEq)]
pub struct Tree {
    pub parent: BTreeMap<Rev, Option<Rev>>,
    /// `Some(None)` is a tombstone; no entry, no body.
    pub body: BTreeMap<Rev, Option<String>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Db(pub BTreeMap<String, Tree>);

impl std::fmt::Debug for Tree {
    /// A line for each revision, with what stands at it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (rev, parent) in &self.parent {
            let parent = parent.as_ref().map(Rev::to_string).unwrap_or_default();
            let body = match self.body.get(rev) {
                None => "unknown",
                Some(None) => "deleted",
                Some(Some(text)) => text,
            };
            write!(f, "\n    {rev} on {parent:34} {body}")?;
        }
        Ok(())
    }
}

impl Tree {
    pub fn leaves(&self) -> Vec<Rev> {
        let inner: BTreeSet<&Rev> = self.parent.values().flatten().collect();
        self.parent
            .keys()
            .filter(|rev| !inner.contains(rev) && self.body.contains_key(rev))
            .cloned()
            .collect()
    }

    pub fn live(&self) -> Vec<Rev> {
        self.leaves()
            .into_iter()
            .filter(|rev| self.body[rev].is_some())
            .collect()
    }

    pub fn winner(&self) -> Option<Rev> {
        self.leaves()
            .into_iter()
            .max_by_key(|rev| (self.body[rev].is_some(), rev.clone()))
    }

    pub fn path(&self, rev: &Rev) -> Vec<Rev> {
        std::iter::successors(Some(rev.clone()), |rev| self.parent.get(rev).cloned().flatten()).collect()
    }

    /// The revision stands at a leaf, but for what tidies the document.
    pub fn tells(&self, id: &str, rev: &Rev) -> bool {
        let is_tidying = |rev: &Rev| Kind::of(id, rev) == Kind::Local;
        let newest = |leaf: &Rev| self.path(leaf).into_iter().find(|rev| !is_tidying(rev));
        self.live().iter().any(|leaf| newest(leaf).as_ref() == Some(rev))
    }

    /// What replication brings over: everything but the bodies of inner revisions.
    pub fn replicable(&self) -> Self {
        let mut tree = self.clone();
        tree.compact();
        tree
    }

    pub fn shown(&self) -> Option<serde_json::Value> {
        let text = self.body.get(&self.winner()?)?.as_ref()?;
        Some(serde_json::from_str(text).unwrap())
    }

    /// `new_edits: false`
    pub fn write(&mut self, path: &[Rev], body: Option<String>) -> bool {
        if self.body.contains_key(&path[0]) {
            return false;
        }
        for (n, rev) in path.iter().enumerate() {
            let parent = path.get(n + 1).cloned();
            let known = self.parent.entry(rev.clone()).or_default();
            if known.is_none() {
                *known = parent;
            }
        }
        self.body.insert(path[0].clone(), body);
        true
    }

    /// `_revs_limit`
    pub fn stem(&mut self, limit: usize) {
        let kept: Vec<Vec<Rev>> = self
            .leaves()
            .iter()
            .map(|leaf| self.path(leaf).into_iter().take(limit).collect())
            .collect();
        let keep: BTreeSet<&Rev> = kept.iter().flatten().collect();
        self.parent.retain(|rev, _| keep.contains(rev));
        self.body.retain(|rev, _| keep.contains(rev));
        for parent in self.parent.values_mut() {
            if parent.as_ref().is_some_and(|rev| !keep.contains(rev)) {
                *parent = None;
            }
        }
    }

    /// `_compact`
    pub fn compact(&mut self) {
        let leaves = self.leaves();
        self.body.retain(|rev, _| leaves.contains(rev));
    }
}

impl Db {
    pub fn tree(&self, id: &str) -> Tree {
        self.0.get(id).cloned().unwrap_or_default()
    }

    pub fn shown(&self, id: &str) -> Option<serde_json::Value> {
        self.0.get(id)?.shown()
    }

    pub fn replicable(&self) -> Self {
        Self(
            self.0
                .iter()
                .map(|(id, tree)| (id.clone(), tree.replicable()))
                .collect(),
        )
    }

    pub fn live(&self, id: &str) -> usize {
        self.0.get(id).map_or(0, |tree| tree.live().len())
    }

    pub fn write(&mut self, id: &str, path: &[Rev], body: Option<String>) -> bool {
        self.0.entry(id.to_owned()).or_default().write(path, body)
    }

    pub fn replicate_to(&self, other: &mut Db, ids: &[&str]) -> bool {
        let mut moved = false;
        for id in ids {
            let tree = self.tree(id);
            for leaf in tree.leaves() {
                moved |= other.write(id, &tree.path(&leaf), tree.body[&leaf].clone());
            }
        }
        moved
    }

    /// What a proxy that looks now would write: for an entity, for those that it shares, and for who follows these.
    pub fn missing(&self, app: &App) -> Outcome {
        let mut all = Outcome::default();
        let mut seen = self.clone();
        let again = app.entities.first().filter(|_| app.entities.len() > 1);
        for (class, key) in app.entities.iter().chain(again) {
            let outcome = seen.missing_in(app, Entity::new(&app.registry, *class, key).unwrap());
            seen.land(&outcome.writes);
            all.is_waiting |= outcome.is_waiting;
            all.is_restless |= outcome.is_restless;
            all.writes.extend(outcome.writes);
            all.refusals.extend(outcome.refusals);
        }
        all
    }

    fn fill(&self, member: &mut Member) {
        let tree = self.tree(&member.id);
        for leaf in tree.leaves() {
            member.insert(&tree.path(&leaf), body(&tree.body[&leaf]), Body::Unread);
        }
    }

    fn missing_in(&self, app: &App, mut read: Entity) -> Outcome {
        read.has_copies = app.has_copies;
        read.members.iter_mut().for_each(|member| self.fill(member));
        loop {
            let outcome = reconcile(&app.registry, &app.lenses, &mut read.clone());
            assert!(!outcome.is_restless, "{self:#?}");
            if outcome.wants.is_empty() && outcome.needs.is_empty() {
                return outcome;
            }
            for need in outcome.needs {
                let mut member = Member::new(need.class, need.id);
                self.fill(&mut member);
                read.shared.push(member.into());
            }
            for want in outcome.wants {
                let member = read.members.iter_mut().find(|member| member.id == want.id).unwrap();
                let node = member.tree.find(&want.rev).unwrap();
                member.tree.content_mut(node).body = self.0[&want.id].body.get(&want.rev).map_or(Body::Missing, body);
            }
        }
    }

    pub fn land(&mut self, writes: &[Write]) -> bool {
        let mut moved = false;
        for write in writes {
            let body = write.body.as_ref().map(|document| {
                let attachments = self.stored(write).written();
                let fields = document.fields.clone();
                serde_json::to_string(&Document {
                    fields,
                    attachments,
                    ..Document::default()
                })
                .unwrap()
            });
            moved |= self.write(&write.id, &write.path, body);
        }
        moved
    }

    /// The attachments of a revision that is written: a stub has to be of the nearest ancestor that has a body, and other bytes come from
    /// where they are.
    fn stored(&self, write: &Write) -> Attachments {
        let attachments = write.body.as_deref().and_then(Attachments::of).unwrap_or_default();
        let tree = self.tree(&write.id);
        let ancestor = write.path[1..].iter().find_map(|rev| tree.body.get(rev));
        let ancestor = attachments_of(ancestor.and_then(Option::as_deref).unwrap_or("{}"));
        let mut stored = Attachments::default();
        for (name, attachment) in attachments.iter() {
            if attachment.form == Form::Stub {
                assert_eq!(
                    ancestor.get(name),
                    Some(attachment),
                    "412: {name} of {} in {self:#?}",
                    write.id
                );
            } else if !tree.body.contains_key(&write.path[0]) {
                let from = write.incoming.iter().find(|from| from.name == name).unwrap();
                let source = self.0[&from.id].body[&from.rev].as_deref().unwrap();
                assert_eq!(
                    attachments_of(source).get(&from.source).unwrap().digest,
                    attachment.digest
                );
                assert_eq!(attachment.revpos, write.path[0].generation());
            }
            let form = Form::Stub;
            stored.set(
                name,
                Attachment {
                    form,
                    ..attachment.clone()
                },
            );
        }
        stored
    }

    pub fn reconcile(&mut self, app: &App) -> bool {
        let outcome = self.missing(app);
        self.land(&outcome.writes)
    }
}

pub fn attachments_of(text: &str) -> Attachments {
    Attachments::of(&serde_json::from_str(text).unwrap()).unwrap_or_default()
}

fn body(body: &Option<String>) -> Body {
    let document = |text: &String| serde_json::from_str::<Document>(text).unwrap().into();
    body.as_ref().map_or(Body::Tombstone, |text| Body::Live(document(text)))
}
