//! An entity as it was read: one revision tree for each of its documents.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::revision::{self, EditId, Kind};
use crate::{
    couch::{Content, Document, Fields, NodeId, Rev, RevTree},
    schema::{ClassId, Registry},
};

/// What is known of a revision's body.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// Nobody has asked for it.
    #[default]
    Unread,
    /// CouchDB no longer has it (compacted), or never had (it came as an ancestor only).
    Missing,
    /// `_deleted`
    Tombstone,
    /// A document; its fields and attachments count.
    Live(Arc<Document>),
}

/// What stands at a node of a member's tree.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The edit that stands there.
    pub edit: EditId,
    /// Who wrote it.
    pub kind: Kind,
    /// Its body.
    pub body: Body,
}

/// One document of an entity.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its class.
    pub class: ClassId,
    /// Its `_id`.
    pub id: String,
    /// Its revisions.
    pub tree: RevTree<Stored>,
    /// Where each edit in the tree stands.
    held: HashMap<EditId, Vec<NodeId>>,
}

/// The documents that share a key and whose classes are tied by lenses, in the order of [`Registry::entity`].
#[derive(Clone, Debug)]
pub struct Entity {
    /// The key that their ids share.
    pub key: String,
    /// The documents, existing or not.
    pub members: Vec<Member>,
    /// Documents of other entities that these embed or refer to, as far as they were read.
    pub shared: Vec<Arc<Member>>,
    /// What stands in several documents without a common edit was there before anybody carried: they are copies, and not in conflict.
    pub has_copies: bool,
}

impl Content for Stored {
    fn is_known(&self) -> bool {
        matches!(self.body, Body::Live(_) | Body::Tombstone)
    }

    fn is_tombstone(&self) -> bool {
        matches!(self.body, Body::Tombstone)
    }
}

impl Body {
    /// The document, if there is a live one.
    pub fn live(&self) -> Option<&Arc<Document>> {
        match self {
            Body::Live(document) => Some(document),
            _ => None,
        }
    }
}

impl Member {
    /// A document of which nothing is read yet.
    pub fn new(class: ClassId, id: String) -> Self {
        Self {
            class,
            id,
            tree: RevTree::default(),
            held: HashMap::new(),
        }
    }

    /// Adds a revision and its ancestors, newest first. A body that is known already stays; `ancestors` is what is known
    /// of the bodies of those that are new. Answers the node and whether its revision is new.
    pub fn insert(&mut self, path: &[Rev], body: Body, ancestors: Body) -> Option<(NodeId, bool)> {
        let id = &self.id;
        let stored = |rev: &Rev| Stored {
            edit: EditId::of(rev),
            kind: Kind::of(id, rev),
            body: ancestors.clone(),
        };
        let known = self.tree.len();
        let (node, is_new) = self.tree.insert(path, stored)?;
        for node in known..self.tree.len() {
            self.held.entry(self.tree.content(node).edit).or_default().push(node);
        }
        let stored = self.tree.content_mut(node);
        if !stored.is_known() {
            stored.body = body;
        }
        Some((node, is_new))
    }

    /// Whether an edit is in the tree, on whatever path.
    pub fn holds(&self, edit: EditId) -> bool {
        self.held.contains_key(&edit)
    }

    /// Where an edit stands: on several paths after a conflict.
    pub fn places(&self, edit: EditId) -> &[NodeId] {
        self.held.get(&edit).map_or(&[], Vec::as_slice)
    }

    /// The edits on the path of `node`, oldest first.
    pub fn edits(&self, node: NodeId) -> Vec<EditId> {
        let mut edits: Vec<EditId> = self.tree.path(node).map(|n| self.tree.content(n).edit).collect();
        edits.reverse();
        edits
    }

    /// The edits on the path of `node` that came from elsewhere or were authored here; not what only tidies this document.
    pub fn shared_edits(&self, node: NodeId) -> HashSet<EditId> {
        let stored = self.tree.path(node).map(|n| self.tree.content(n));
        stored
            .filter(|stored| stored.kind != Kind::Local)
            .map(|stored| stored.edit)
            .collect()
    }

    /// The edits on the paths of all live leaves.
    pub fn alive(&self) -> HashSet<EditId> {
        let (mut edits, mut seen) = (HashSet::new(), HashSet::new());
        for leaf in self.tree.live() {
            // What leaves share is walked once.
            let own = self.tree.path(leaf).take_while(|node| seen.insert(*node));
            edits.extend(own.map(|node| self.at(node).edit));
        }
        edits
    }

    /// A client has deleted this leaf, here or elsewhere.
    pub fn is_deletion(&self, node: NodeId) -> bool {
        let stored = self.at(node);
        stored.is_tombstone() && stored.kind != Kind::Local && self.tree.is_leaf(node)
    }

    /// The edits on the paths of those leaves that a client has deleted, here or elsewhere, by one of these edits.
    pub fn ended(&self, by: &[EditId]) -> HashSet<EditId> {
        let places = by.iter().flat_map(|edit| self.places(*edit)).copied();
        let deletions = places.filter(|&node| self.is_deletion(node));
        deletions.flat_map(|leaf| self.edits(leaf)).collect()
    }

    /// What stands at `node` or below, but for what only tidies this document.
    pub fn told(&self, node: NodeId) -> Option<NodeId> {
        self.tree.path(node).find(|&node| self.at(node).kind != Kind::Local)
    }

    /// The edit by which the branch of `leaf` is ended in this document alone.
    pub fn dropping(&self, leaf: &Rev) -> EditId {
        EditId::made("drop", &self.id, &[leaf])
    }

    /// The tombstone that ends the branch of `leaf` in this document alone.
    pub fn dropped(&self, leaf: &Rev) -> Rev {
        revision::derived(&self.id, self.dropping(leaf), Some(leaf), &[], Kind::Local)
    }

    /// What stands at `node` or below that is no tombstone, as far as that is known.
    pub fn standing(&self, node: NodeId) -> Option<NodeId> {
        self.tree.path(node).find(|&node| !self.at(node).is_tombstone())
    }

    /// The revisions on the path of `node`, newest first.
    pub fn revs(&self, node: NodeId) -> Vec<Rev> {
        self.tree.path(node).map(|n| self.tree.rev(n).clone()).collect()
    }

    /// The fields of every revision whose body is known, leaf or not.
    pub fn bodies(&self) -> impl Iterator<Item = &Fields> {
        let bodies = self.tree.nodes().filter_map(|node| self.at(node).body.live());
        bodies.map(|body| &body.fields)
    }

    /// What stands at `node`.
    pub fn at(&self, node: NodeId) -> &Stored {
        self.tree.content(node)
    }
}

impl Entity {
    /// An entity of which nothing is read yet. `None` if the class is tied to no other and shared by none, or the key cannot stand in every
    /// id (see [`Registry::entity_ids`]).
    pub fn new(registry: &Registry, class: ClassId, key: &str) -> Option<Self> {
        let classes = registry.entity(class);
        if classes.len() < 2 && !registry.is_shared(class) {
            return None;
        }
        let ids = registry.entity_ids(class, key)?;
        let members = classes.iter().zip(ids).map(|(&class, id)| Member::new(class, id));
        Some(Self {
            key: key.to_owned(),
            members: members.collect(),
            shared: Vec::new(),
            has_copies: false,
        })
    }

    /// The place of a document.
    pub fn position(&self, id: &str) -> Option<usize> {
        self.members.iter().position(|member| member.id == id)
    }
}
