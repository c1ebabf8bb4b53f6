//! Documents that were in several versions before anybody carried between them: they are brought together once, not as conflicts.
//!
//! Two sides of a lens are *strangers* when their primary documents exist and have no edit in common. Of an entity that was ever
//! carried they are not: what is created in one version has its edit in all. They may also be two todos that clients made at the same time under one key,
//! which is a conflict: whoever reads the entity tells ([`Entity::has_copies`]). The newer side is carried into the older one, on top of what
//! that has, even if it says the same: from then on a deletion can be told from one that was made by whoever moved documents
//! to a newer version by hand. For the same reason a document that lives counts before one that is deleted. What the other side had is *adopted*:
//! its edits need not be where they never were.
//!
//! Nothing marks them. That an edit was adopted is told by the trees: the other document lacks it and everything below, and has what
//! stands above, which is never so of edits that are carried.

use super::{
    Entity, Work,
    entity::Stored,
    origin::Origins,
    revision::{EditId, Kind},
};
use crate::{
    couch::{NodeId, RevTree},
    lens::Lens,
    schema::{ClassId, Direction},
};

impl Origins<'_> {
    /// Finds the edits that were adopted: those with which a document's path begins, that its neighbour lacks, below one that the
    /// neighbour has.
    pub fn find_adopted<'l>(&mut self, lenses: impl Iterator<Item = &'l Lens>, entity: &Entity) {
        for (lens, to) in lenses.flat_map(|lens| Direction::BOTH.map(|to| (lens, to))) {
            let (near, far) = lens.step().sides(to);
            let mut adopting = Vec::new();
            for &source in near {
                let mut of_primary = Vec::new();
                for &target in far {
                    // Edits of which an optional part was not made are not in it either, and one may begin before the other side knows of it:
                    // for it the primary speaks.
                    let adopted = if lens.is_optional(target) {
                        of_primary.clone()
                    } else if lens.is_optional(source) && !adopting.contains(&target) {
                        Vec::new()
                    } else {
                        self.adopted_in(entity, source, target)
                    };
                    if !adopted.is_empty() {
                        adopting.push(target);
                    }
                    self.adopt(target, adopted.iter().copied());
                    if Some(&target) == far.first() {
                        of_primary = adopted;
                    }
                }
            }
        }
    }

    /// The edits of the document of class `source` that the one of class `target` lacks for good.
    fn adopted_in(&self, entity: &Entity, source: ClassId, target: ClassId) -> Vec<EditId> {
        let of = |class: ClassId| entity.members.iter().find(|member| member.class == class);
        let (Some(from), Some(lacking)) = (of(source), of(target)) else {
            return Vec::new();
        };
        let is_shared = |node: NodeId| {
            let stored = from.at(node);
            stored.kind != Kind::Local && lacking.holds(stored.edit) && self.belongs(stored.edit, target)
        };
        let is_lacking =
            |node: NodeId| !lacking.holds(from.at(node).edit) && self.arrives(from.at(node).edit, target, source);
        let mut adopted = Vec::new();
        // Where `_revs_limit` has cut paths, absence proves nothing.
        if lacking.tree.is_empty() || lacking.tree.is_stemmed() || !from.tree.nodes().any(is_lacking) {
            return adopted;
        }
        for shared in from.tree.nodes().filter(|&node| is_shared(node)) {
            let below = from.tree.path(shared).skip(1);
            // Of several on one path the lowest tells.
            let lowest: Vec<NodeId> = below.take_while(|&node| !is_shared(node)).collect();
            if lowest.last().is_none_or(|&node| from.tree.parent(node).is_none()) {
                let lacking = lowest.into_iter().filter(|&node| is_lacking(node));
                adopted.extend(lacking.map(|node| from.at(node).edit));
            }
        }
        adopted
    }
}

/// Documents of the old and of the new side of a step that have no edit in common.
type Strangers = Vec<(usize, usize)>;

impl Work<'_> {
    /// Tells for the newest strangers which side is adopted by the other. Answers the lenses between older ones: these come after them, so that
    /// what counts there reaches them as it is then.
    pub(super) fn introduce(&mut self) -> Vec<usize> {
        if !self.entity.has_copies {
            return Vec::new();
        }
        let lenses: Vec<&Lens> = self.lenses.iter().map(|(lens, _)| *lens).collect();
        let strangers = lenses.iter().enumerate().map(|(n, lens)| (n, self.strangers(lens)));
        let mut strangers: Vec<_> = strangers.filter(|(_, pairs)| !pairs.is_empty()).collect();
        strangers.sort_by_key(|(n, _)| lenses[*n].step().new.first().map(|&class| self.registry.age(class)));
        for (nth, (n, pairs)) in strangers.iter().enumerate() {
            self.introduce_over(lenses[*n], pairs);
            // Those that could not be carried hold up nobody.
            if !self.introduced.contains(n) {
                return strangers[nth + 1..].iter().map(|(n, _)| *n).collect();
            }
        }
        Vec::new()
    }

    fn strangers(&self, lens: &Lens) -> Strangers {
        let [old, new] = [&lens.step().old, &lens.step().new].map(|side| self.members(side));
        let (Some(&old_primary), Some(&new_primary)) = (old.first(), new.first()) else {
            return Vec::new();
        };
        let is_there = |place: usize| !self.entity.members[place].tree.is_empty();
        let is_adopted = |from: usize, by: usize| {
            let [from, by] = [from, by].map(|place| &self.entity.members[place]);
            let mut nodes = from.tree.nodes();
            nodes.any(|node| self.origins.is_adopted(from.at(node).edit, by.class))
        };
        // Parts may be brought together after their primaries. An optional one may have nothing of the other side at any time.
        let is_incomplete = !is_there(old_primary) || !is_there(new_primary);
        let are_apart = is_incomplete || self.are_strangers(old_primary, new_primary);
        if !are_apart && !is_adopted(old_primary, new_primary) && !is_adopted(new_primary, old_primary) {
            return Vec::new();
        }
        let pairs = old.iter().flat_map(|&old| new.iter().map(move |&new| (old, new)));
        let is_optional = |place: usize| lens.is_optional(self.entity.members[place].class);
        pairs
            .filter(|&(old, new)| are_apart || !is_optional(old) && !is_optional(new))
            .filter(|&(old, new)| self.are_strangers(old, new))
            .collect()
    }

    fn are_strangers(&self, one: usize, other: usize) -> bool {
        let [one, other] = [one, other].map(|place| &self.entity.members[place]);
        let is_common = |node: NodeId| {
            let stored = one.at(node);
            stored.kind != Kind::Local && other.holds(stored.edit)
        };
        // Where `_revs_limit` has cut paths, they may have had one.
        let is_whole = |tree: &RevTree<Stored>| !tree.is_empty() && !tree.is_stemmed();
        is_whole(&one.tree) && is_whole(&other.tree) && !one.tree.nodes().any(is_common)
    }

    fn introduce_over(&mut self, lens: &Lens, pairs: &Strangers) {
        let tree = |place: usize| &self.entity.members[place].tree;
        let [old, new] = [&lens.step().old, &lens.step().new].map(|side| self.members(side));
        let is_live = |side: &[usize], place: usize| {
            let primary = side.first().filter(|&&primary| !tree(primary).is_empty());
            tree(primary.copied().unwrap_or(place)).live().next().is_some()
        };
        let adopted: Vec<(usize, usize)> = pairs
            .iter()
            .flat_map(|&(a, b)| match (is_live(&old, a), is_live(&new, b)) {
                (false, false) => vec![(a, b), (b, a)],
                (true, false) => vec![(b, a)],
                (_, true) => vec![(a, b)],
            })
            .collect();
        for (from, by) in adopted {
            let from = &self.entity.members[from];
            let edits = from.tree.winner().map(|winner| from.edits(winner));
            let by = self.entity.members[by].class;
            self.origins.adopt(by, edits.into_iter().flatten());
        }
        self.untold.clear();
        self.companions.forget();
    }
}
