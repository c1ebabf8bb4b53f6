//! Where on a target a new revision branches off.

use std::collections::{HashMap, HashSet};

use super::{Member, Work, carry::Inputs, revision::Kind};
use crate::{
    couch::{Content, NodeId},
    lens::Lens,
};

/// How many edits on a path go with a leaf: those that could not be added on top of it, all of its own, and any.
type Shared = (usize, usize, usize);

/// A look at those nodes of the target that a new revision may stand on.
///
/// A tree may have thousands of branches, for each of which a place is looked for: what cannot fit is not even looked at.
struct Search<'a> {
    work: &'a Work<'a>,
    lens: &'a Lens,
    target: &'a Member,
    inputs: &'a Inputs,
    /// See [`Work::below`]: whoever has seen an edit has seen what its author saw.
    below: HashSet<NodeId>,
    is_cut: bool,
    shared: HashMap<NodeId, Shared>,
}

impl Work<'_> {
    /// The node of the target that has most of the leaf's edits, then of any, and on whose path every edit has been seen by the
    /// inputs, or can never be. A leaf is a fast-forward; an inner node, or none, is a conflict.
    pub(super) fn parent(&mut self, lens: &Lens, target: usize, inputs: &Inputs) -> Option<NodeId> {
        let below = self.below(target, inputs);
        let candidates = if self.is_cut(target) {
            self.entity.members[target].tree.nodes().collect()
        } else {
            let mut candidates = self.candidates(lens, target, inputs);
            candidates.extend(&below);
            candidates
        };
        let search = Search {
            work: self,
            lens,
            target: &self.entity.members[target],
            inputs,
            below,
            is_cut: self.is_cut(target),
            shared: HashMap::new(),
        };
        search.best(candidates)
    }

    /// What stands below edits that the leaf has and that were authored in the target, themselves included.
    fn below(&self, target: usize, inputs: &Inputs) -> HashSet<NodeId> {
        let target = &self.entity.members[target];
        let edits = inputs.ends.first().into_iter().flat_map(|(_, _, path)| path);
        let places = edits.flat_map(|edit| target.places(*edit)).copied();
        let mut below = HashSet::new();
        for authored in places.filter(|&node| target.at(node).kind == Kind::Authored) {
            let mut at = Some(authored);
            while let Some(node) = at.filter(|&node| below.insert(node)) {
                at = target.tree.parent(node);
            }
        }
        below
    }

    /// Nodes with an edit that the inputs have seen, and those with one of which they need not tell.
    fn candidates(&mut self, lens: &Lens, target: usize, inputs: &Inputs) -> Vec<NodeId> {
        let members = &self.entity.members;
        let told = inputs.ends.iter().map(|(place, ..)| *place);
        let mut told: Vec<usize> = told.filter(|&place| !lens.is_optional(members[place].class)).collect();
        told.sort_unstable();
        let target_at = &members[target];
        let is_free = |node: &NodeId| {
            let belongs = |input: &Member| self.origins.belongs(target_at.at(*node).edit, input.class);
            let mut inputs = told.iter().map(|&place| &members[place]);
            inputs.all(|input| !belongs(input) || has_outlived(target_at, *node, input))
        };
        let (looked_at, free) = self.untold.entry((target, told.clone())).or_default();
        let new = *looked_at..target_at.tree.len();
        *looked_at = new.end;
        free.extend(new.filter(is_free));
        let seen = inputs.ends.iter().flat_map(|(_, _, path)| path);
        let mut candidates = free.clone();
        candidates.extend(seen.flat_map(|edit| target_at.places(*edit)));
        candidates
    }
}

impl Search<'_> {
    fn best(mut self, mut candidates: Vec<NodeId>) -> Option<NodeId> {
        let tree = &self.target.tree;
        // Parents before their children.
        candidates.sort_unstable_by_key(|&node| tree.rev(node).generation());
        let mut fitting = HashSet::new();
        for node in candidates {
            if self.fits(node, &fitting) {
                fitting.insert(node);
            }
        }
        fitting
            .into_iter()
            .max_by_key(|&node| (self.shared(node), tree.rev(node)))
    }

    /// Whether a node fits, whose parent is in `fitting` if it does.
    fn fits(&self, node: NodeId, fitting: &HashSet<NodeId>) -> bool {
        let edit = self.target.at(node).edit;
        let seen = self.seen(node).map(|seen| seen || self.below.contains(&node));
        // Where `_revs_limit` has cut paths, an edit whose author is no longer known is too old to be in conflict.
        let is_old = self.is_cut && self.work.origins.is_orphan(edit);
        let stands = || {
            self.target
                .tree
                .parent(node)
                .is_none_or(|parent| fitting.contains(&parent))
        };
        (self.is_cut && seen == Some(true)) || (is_old || seen.unwrap_or(true)) && stands()
    }

    /// Whether the inputs have seen the edit at a node; none if they never can.
    ///
    /// The leaf decides for every edit that belongs to its class: that another input has seen an edit does not tell that the leaf's
    /// author had. But an edit of which a part was not made tells nothing of the part's author.
    fn seen(&self, node: NodeId) -> Option<bool> {
        let edit = self.target.at(node).edit;
        self.inputs.ends.iter().find_map(|(place, _, path)| {
            let input = &self.work.entity.members[*place];
            let is_told = !self.lens.is_optional(input.class) || input.holds(edit);
            let belongs = is_told && self.work.origins.belongs(edit, input.class);
            let has_seen = path.contains(&edit);
            (belongs && (has_seen || !has_outlived(self.target, node, input))).then_some(has_seen)
        })
    }

    /// Of the whole path of a node.
    fn shared(&mut self, node: NodeId) -> Shared {
        let tree = &self.target.tree;
        let mut unknown = Vec::new();
        let mut at = Some(node);
        let mut shared = loop {
            match at {
                None => break (0, 0, 0),
                Some(node) => match self.shared.get(&node) {
                    Some(&shared) => break shared,
                    None => unknown.push(node),
                },
            }
            at = at.and_then(|node| tree.parent(node));
        };
        for node in unknown.into_iter().rev() {
            let own = self.own(node);
            shared = (shared.0 + own.0, shared.1 + own.1, shared.2 + own.2);
            self.shared.insert(node, shared);
        }
        shared
    }

    /// Of this node alone. What only tidies this document does not count.
    fn own(&self, node: NodeId) -> Shared {
        let stored = self.target.at(node);
        if stored.kind == Kind::Local {
            return (0, 0, 0);
        }
        let edit = stored.edit;
        let leaf = self.inputs.ends.first().filter(|(_, _, path)| path.contains(&edit));
        // What does not arrive through the leaf cannot be added on top: it has to be there already.
        let arrives = |place: usize| {
            let through = self.work.entity.members[place].class;
            self.work.origins.arrives(edit, self.target.class, through)
        };
        let stays = leaf.is_some_and(|(place, ..)| !arrives(*place));
        (usize::from(stays), usize::from(leaf.is_some()), 1)
    }
}

/// The edit at a node only ended another branch of the input, of which the target had none: whoever goes on in the input has it on no path.
fn has_outlived(target: &Member, node: NodeId, input: &Member) -> bool {
    let stored = target.at(node);
    let mut places = input.places(stored.edit).iter();
    !stored.is_tombstone() && input.holds(stored.edit) && places.all(|&place| input.is_deletion(place))
}
