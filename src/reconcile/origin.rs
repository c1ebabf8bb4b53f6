//! Where each edit was authored, and so how far it spreads.

use std::collections::{HashMap, HashSet};

use super::{Entity, revision::EditId, revision::Kind};
use crate::schema::{ClassId, Registry};

/// The class of every edit found in an entity.
pub struct Origins<'a> {
    registry: &'a Registry,
    /// With the kind under which it was found first: a mirror is an orphan.
    class: HashMap<EditId, (ClassId, Kind)>,
    /// The classes that need not have an edit: it is from before anybody carried to them.
    adopted: HashMap<EditId, HashSet<ClassId>>,
}

impl<'a> Origins<'a> {
    /// Reads them off the trees. An edit that nobody here authored is an orphan (a device restored only its newest class to
    /// a fresh server): its newest holder speaks for it.
    pub fn find(registry: &'a Registry, entity: &Entity) -> Self {
        let mut class = HashMap::new();
        let mut newest_first: Vec<_> = entity.members.iter().collect();
        // What reached a part and its primary did not begin in the part: it would go no further from there.
        let is_part = |class: ClassId| {
            let sides = registry.steps().iter().flat_map(|step| [&step.old, &step.new]);
            sides
                .into_iter()
                .any(|side| side.iter().skip(1).any(|part| *part == class))
        };
        newest_first.sort_by_key(|member| (is_part(member.class), registry.age(member.class)));
        for wanted in [&[Kind::Authored, Kind::Merge][..], &[Kind::Mirror]] {
            for member in &newest_first {
                for stored in member.tree.nodes().map(|node| member.at(node)) {
                    if wanted.contains(&stored.kind) {
                        class.entry(stored.edit).or_insert((member.class, stored.kind));
                    }
                }
            }
        }
        Self {
            registry,
            class,
            adopted: HashMap::new(),
        }
    }

    /// From now on these edits do not belong into documents of this class.
    pub fn adopt(&mut self, class: ClassId, edits: impl Iterator<Item = EditId>) {
        for edit in edits {
            self.adopted.entry(edit).or_default().insert(class);
        }
    }

    /// The edit belongs into documents of this class.
    pub fn belongs(&self, edit: EditId, class: ClassId) -> bool {
        self.class
            .get(&edit)
            .is_some_and(|&(origin, _)| origin == class || self.registry.via(origin, class).is_some())
            && !self.is_adopted(edit, class)
    }

    /// The edit arrives at `target` through `neighbour`.
    pub fn arrives(&self, edit: EditId, target: ClassId, neighbour: ClassId) -> bool {
        self.class
            .get(&edit)
            .is_some_and(|&(origin, _)| self.registry.via(origin, target) == Some(neighbour))
            && !self.is_adopted(edit, target)
    }

    /// Documents of some class need not have the edit.
    pub fn was_adopted(&self, edit: EditId) -> bool {
        self.adopted.contains_key(&edit)
    }

    /// Documents of this class need not have the edit.
    pub fn is_adopted(&self, edit: EditId, class: ClassId) -> bool {
        self.adopted.get(&edit).is_some_and(|classes| classes.contains(&class))
    }

    /// The edit is one of ours: it merged two sides of a conflict.
    pub fn is_merge(&self, edit: EditId) -> bool {
        self.class.get(&edit).is_some_and(|&(_, kind)| kind == Kind::Merge)
    }

    /// Nobody here authored the edit.
    pub fn is_orphan(&self, edit: EditId) -> bool {
        self.class.get(&edit).is_some_and(|&(_, kind)| kind == Kind::Mirror)
    }
}
