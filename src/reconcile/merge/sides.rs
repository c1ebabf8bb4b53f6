//! The sides of a conflict, and what they have in common: told by edits, so that what was merged before is known again.

use std::collections::{HashMap, HashSet};

use crate::{
    couch::{Document, NodeId},
    reconcile::{
        Member,
        revision::{EditId, Kind},
    },
};

/// How many sides of a conflict are looked at, the highest first: each is tried with each.
const MOST_SIDES: usize = 32;

/// For each revision that merged two sides, the one that was closed for it.
pub(super) type Merged = HashMap<NodeId, NodeId>;

/// A side of a conflict.
#[derive(Clone)]
pub(super) struct Side {
    pub(super) leaf: NodeId,
    /// Whose changes it has, without those that only merged others.
    pub(super) knows: HashSet<EditId>,
}

/// The living sides of one document.
pub(super) struct Conflict {
    /// The document's place in the entity.
    pub(super) place: usize,
    pub(super) merged: Merged,
    /// The highest first.
    pub(super) sides: Vec<Side>,
}

impl Member {
    /// The edit that merges two sides.
    pub(super) fn merging(&self, keep: NodeId, close: NodeId) -> EditId {
        EditId::made("merge", &self.id, &[self.tree.rev(keep), self.tree.rev(close)])
    }

    /// Finds what was merged, as the hashes tell it.
    fn merged(&self) -> Merged {
        let mut made = self
            .tree
            .nodes()
            .filter(|&node| self.at(node).kind == Kind::Merge)
            .peekable();
        if made.peek().is_none() {
            return Merged::new();
        }
        let made: Vec<(NodeId, NodeId)> = made.filter_map(|node| Some((node, self.tree.parent(node)?))).collect();
        // One side may be here before its end is.
        let ended = made.iter().map(|&(_, parent)| parent);
        let closed: Vec<NodeId> = ended.chain(self.tree.leaves()).collect();
        let of = |(node, keep): &(NodeId, NodeId)| {
            let close = closed
                .iter()
                .find(|&&close| self.merging(*keep, close) == self.at(*node).edit);
            Some((*node, *close?))
        };
        made.iter().filter_map(of).collect()
    }

    /// The conflict of a document, as far as it is looked at.
    pub(super) fn conflict(&self, place: usize) -> Conflict {
        let merged = self.merged();
        let mut live: Vec<NodeId> = self.tree.live().collect();
        live.sort_by_key(|&leaf| std::cmp::Reverse(self.tree.rev(leaf)));
        live.truncate(MOST_SIDES);
        let side = |leaf| Side {
            leaf,
            knows: self.known(&merged, leaf).0,
        };
        let sides = live.into_iter().map(side).collect();
        Conflict { place, merged, sides }
    }

    /// The edits that a revision has seen, and the ends of the paths that they stand on, its own first.
    pub(super) fn known(&self, merged: &Merged, node: NodeId) -> (HashSet<EditId>, Vec<NodeId>) {
        let mut knows = HashSet::new();
        let mut seen = HashSet::new();
        let mut ends = vec![node];
        let mut n = 0;
        while let Some(&end) = ends.get(n) {
            for node in self.tree.path(end).take_while(|&node| seen.insert(node)) {
                match (self.at(node).kind, merged.get(&node)) {
                    (Kind::Local, _) => {}
                    (_, Some(&closed)) => ends.push(closed),
                    (_, None) => drop(knows.insert(self.at(node).edit)),
                }
            }
            n += 1;
        }
        (knows, ends)
    }

    /// The newest revision that two have both grown from.
    pub(super) fn forked(&self, [mut a, mut b]: [NodeId; 2]) -> Option<NodeId> {
        while a != b {
            let older = if self.tree.rev(a) > self.tree.rev(b) {
                &mut a
            } else {
                &mut b
            };
            *older = self.tree.parent(*older)?;
        }
        Some(a)
    }

    /// Revisions that together have seen these edits, as far as there are some, and no others: one, or several of which none has seen
    /// what another has. `ends` are those of the paths on which they may stand.
    pub(super) fn bases(&self, merged: &Merged, ends: &[NodeId], edits: &HashSet<EditId>) -> Vec<Side> {
        let mut bases: Vec<Side> = ends
            .iter()
            .filter_map(|&end| self.last_within(merged, end, edits))
            .collect();
        bases.sort_by_key(|base| (std::cmp::Reverse(base.knows.len()), self.tree.rev(base.leaf)));
        let mut kept: Vec<Side> = Vec::new();
        for base in bases {
            if !kept.iter().any(|kept| base.knows.is_subset(&kept.knows)) {
                kept.push(base);
            }
        }
        kept
    }

    /// The revision of a path that has seen most of these edits and no other; of several the oldest.
    fn last_within(&self, merged: &Merged, end: NodeId, edits: &HashSet<EditId>) -> Option<Side> {
        let mut path: Vec<NodeId> = self.tree.path(end).collect();
        path.reverse();
        let mut last: Option<Side> = None;
        let mut knows: HashSet<EditId> = HashSet::new();
        for leaf in path {
            match (self.at(leaf).kind, merged.get(&leaf)) {
                (Kind::Local, _) => {}
                (_, Some(&closed)) => knows.extend(self.known(merged, closed).0),
                (_, None) => drop(knows.insert(self.at(leaf).edit)),
            }
            if !knows.is_subset(edits) {
                break;
            }
            if last.as_ref().map_or(0, |last| last.knows.len()) < knows.len() {
                let knows = knows.clone();
                last = Some(Side { leaf, knows });
            }
        }
        last
    }

    /// What the winner says, if it lives.
    pub(super) fn shown(&self) -> Option<&Document> {
        self.at(self.tree.winner()?).body.live().map(|body| &**body)
    }
}
