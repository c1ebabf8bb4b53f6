//! Which leaf of one document goes with a leaf of another, where both are inputs of one lens.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{Member, Work, revision::EditId};
use crate::couch::{Content, NodeId};

/// The leaves of documents by what they share with another one, as long as their trees do not grow: a tree may have thousands, and each is
/// asked for.
#[derive(Default)]
pub(super) struct Companions {
    of: HashMap<(usize, usize), Leaves>,
}

#[derive(Default)]
struct Leaves {
    /// How large the tree was.
    nodes: usize,
    winner: Option<NodeId>,
    live: usize,
    all: usize,
    /// By [`fingerprint`], the winner's order. Empty if there is one leaf only.
    by_edits: HashMap<u64, Vec<NodeId>>,
}

impl Work<'_> {
    /// The leaf of another input that goes with a leaf: of several that which has seen the same edits, as far as they belong into
    /// both; else the winner. A dead one goes with a dead leaf only.
    pub(super) fn companion(&mut self, source: usize, leaf: NodeId, other: usize) -> Option<NodeId> {
        let (here, there) = (&self.entity.members[source], &self.entity.members[other]);
        let origins = &self.origins;
        let common = |member: &Member, node: NodeId| -> HashSet<EditId> {
            let belongs = |edit: &EditId| [here, there].iter().all(|m| origins.belongs(*edit, m.class));
            member.edits(node).into_iter().filter(belongs).collect()
        };
        let leaves = self.companions.of.entry((source, other)).or_default();
        if leaves.nodes != there.tree.len() {
            *leaves = Leaves::of(there, |node| common(there, node));
        }
        let is_dead = here.at(leaf).is_tombstone();
        if (if is_dead { leaves.all } else { leaves.live }) < 2 {
            return leaves.winner;
        }
        let wanted = common(here, leaf);
        let mut same = leaves
            .by_edits
            .get(&fingerprint(&wanted))
            .into_iter()
            .flatten()
            .copied();
        same.find(|&node| (is_dead || !there.at(node).is_tombstone()) && common(there, node) == wanted)
            .or(leaves.winner)
    }
}

impl Companions {
    /// Other edits belong into documents than before.
    pub(super) fn forget(&mut self) {
        self.of.clear();
    }
}

impl Leaves {
    fn of(member: &Member, common: impl Fn(NodeId) -> HashSet<EditId>) -> Self {
        let mut leaves: Vec<NodeId> = member.tree.leaves().collect();
        let order = |&node: &NodeId| (!member.at(node).is_tombstone(), member.tree.rev(node));
        leaves.sort_by_key(|node| std::cmp::Reverse(order(node)));
        let mut by_edits: HashMap<u64, Vec<NodeId>> = HashMap::new();
        for &node in leaves.iter().filter(|_| leaves.len() > 1) {
            by_edits.entry(fingerprint(&common(node))).or_default().push(node);
        }
        Self {
            nodes: member.tree.len(),
            winner: leaves.first().copied(),
            live: member.tree.live().count(),
            all: leaves.len(),
            by_edits,
        }
    }
}

/// The same for the same edits, in whatever order they come.
fn fingerprint(edits: &HashSet<EditId>) -> u64 {
    let hash = |edit: &EditId| {
        let mut hasher = DefaultHasher::new();
        edit.hash(&mut hasher);
        hasher.finish()
    };
    edits.iter().map(hash).fold(0, u64::wrapping_add)
}
