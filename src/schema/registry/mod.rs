//! The registry: every class, the steps between them, and how far an edit of each class spreads.

use super::{Class, ClassId, Flaw};

mod graph;
mod sharing;

/// One lens's two sides; the first class of a side is its primary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The older classes.
    pub old: Vec<ClassId>,
    /// The newer classes; none where the old ones end.
    pub new: Vec<ClassId>,
    /// The classes of other entities whose documents the old side embeds, and the new refers to.
    pub shared: Vec<ClassId>,
}

/// Which way a lens is crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the old side to the new.
    Up,
    /// From the new side to the old.
    Down,
}

/// What a flaw of a registry lies in; whoever read the files knows which one that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A class.
    Class(ClassId),
    /// A step, by its number.
    Step(usize),
}

/// Every class and every step, checked to form a forest.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    classes: Vec<Class>,
    steps: Vec<Step>,
    /// Classes by the length of their pattern's literal text, longest first: the first that matches is the most specific.
    by_specificity: Vec<ClassId>,
    entities: Vec<Vec<ClassId>>,
    /// For each class, the index into `entities`.
    entity_of: Vec<usize>,
    /// `reach[origin][target]`: through which neighbour an edit authored in `origin` arrives at `target`.
    reach: Vec<Vec<Option<ClassId>>>,
    /// For each step, which side follows the other where they cannot both be right.
    flows: Vec<Option<Direction>>,
    /// For each class, how many steps lead on from it to the newest; none from those.
    age: Vec<usize>,
}

impl Step {
    /// Source and target side, in a direction.
    pub fn sides(&self, direction: Direction) -> (&[ClassId], &[ClassId]) {
        match direction {
            Direction::Up => (&self.old, &self.new),
            Direction::Down => (&self.new, &self.old),
        }
    }

    /// The old classes have no successor: nothing is carried, and nothing is tied.
    pub fn is_end(&self) -> bool {
        self.new.is_empty()
    }
}

impl Direction {
    /// Both ways.
    pub const BOTH: [Direction; 2] = [Direction::Up, Direction::Down];

    /// The other way.
    pub const fn reverse(self) -> Self {
        match self {
            Direction::Up => Direction::Down,
            Direction::Down => Direction::Up,
        }
    }
}

impl Registry {
    /// Ties classes by steps. Fails with every flaw at once: two classes of one name or with ids that cannot be told
    /// apart, steps that form a cycle or reach a class twice, classes tied together of which only some have a key, documents that would
    /// embed each other without end.
    pub fn new(classes: Vec<Class>, steps: Vec<Step>) -> Result<Self, Vec<(Place, Flaw)>> {
        let mut flaws = Vec::new();
        ambiguous(&classes, &mut flaws);
        let entity_of = graph::tie(&classes, &steps, &mut flaws);
        if !flaws.is_empty() {
            return Err(flaws);
        }
        let mut by_specificity: Vec<ClassId> = (0..classes.len()).map(ClassId).collect();
        by_specificity.sort_by_key(|c| {
            let pattern = &classes[c.0].pattern;
            (pattern.is_keyed(), std::cmp::Reverse(pattern.id("").len()))
        });
        let mut entities = vec![Vec::new(); classes.len()];
        for (class, &entity) in entity_of.iter().enumerate() {
            entities[entity].push(ClassId(class));
        }
        let reach = (0..classes.len())
            .map(|origin| graph::reach(ClassId(origin), classes.len(), &steps))
            .collect();
        let age = (0..classes.len())
            .map(|class| graph::age(ClassId(class), &steps))
            .collect();
        let flows = graph::flows(&steps);
        sharing::check(&classes, &steps, &flows, &entity_of, &mut flaws);
        if !flaws.is_empty() {
            return Err(flaws);
        }
        Ok(Self {
            classes,
            flows,
            steps,
            by_specificity,
            entities,
            entity_of,
            reach,
            age,
        })
    }

    /// The class with this id.
    pub fn class(&self, class: ClassId) -> &Class {
        &self.classes[class.0]
    }

    /// Every class, in the order of declaration.
    pub fn classes(&self) -> impl Iterator<Item = (ClassId, &Class)> {
        self.classes.iter().enumerate().map(|(n, class)| (ClassId(n), class))
    }

    /// Every step, in the order of declaration.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The class of a document and its key, told by the id alone; the most specific pattern wins.
    pub fn classify<'a>(&self, doc_id: &'a str) -> Option<(ClassId, &'a str)> {
        self.by_specificity
            .iter()
            .find_map(|&c| Some((c, self.classes[c.0].pattern.key(doc_id)?)))
    }

    /// The classes that lenses tie to `class`, itself included, in the order of declaration. One class alone is never
    /// reconciled.
    pub fn entity(&self, class: ClassId) -> &[ClassId] {
        &self.entities[self.entity_of[class.0]]
    }

    /// The ids of every document of an entity, in the order of [`entity`](Self::entity). `None` if the key cannot stand in
    /// one of them, because the id it makes there is another class's (`a:{key}` with a key that ends in `:v:2`).
    pub fn entity_ids(&self, class: ClassId, key: &str) -> Option<Vec<String>> {
        let ids = self.entity(class).iter().map(|&c| {
            let id = self.class(c).pattern.id(key);
            (self.classify(&id) == Some((c, key))).then_some(id)
        });
        ids.collect()
    }

    /// The steps whose old side embeds documents of this class.
    pub fn embedding(&self, class: ClassId) -> impl Iterator<Item = usize> {
        let steps = self.steps.iter().enumerate();
        steps
            .filter(move |(_, step)| step.shared.contains(&class))
            .map(|(n, _)| n)
    }

    /// Documents of this class are embedded by documents of other entities.
    pub fn is_shared(&self, class: ClassId) -> bool {
        self.embedding(class).next().is_some()
    }

    /// The neighbour through which an edit authored in `origin` arrives at `target`; none if it does not.
    pub fn via(&self, origin: ClassId, target: ClassId) -> Option<ClassId> {
        self.reach[origin.0][target.0]
    }

    /// The direction in which a step's documents follow each other when proxies have raced, or while there is a conflict: from the
    /// side that keeps things apart to the side that merges them, and on from there; else from newer to older. None where
    /// both sides merge.
    pub fn flow(&self, step: usize) -> Option<Direction> {
        self.flows.get(step).copied().flatten()
    }

    /// A step in words: `todo-item@1 <-> todo-item@2 + todo-item-status@1`, or `todo-item@2 ends`.
    pub fn tells(&self, step: &Step) -> String {
        let names = |classes: &[ClassId]| {
            let names = classes.iter().map(|class| self.class(*class).name.to_string());
            names.collect::<Vec<_>>().join(" + ")
        };
        if step.is_end() {
            return format!("{} ends", names(&step.old));
        }
        format!("{} <-> {}", names(&step.old), names(&step.new))
    }

    /// A step says that this class, or a newer one of its schema, has no successor.
    pub fn is_ended(&self, class: ClassId) -> bool {
        let name = &self.class(class).name;
        let mut ended = self
            .steps
            .iter()
            .filter(|step| step.is_end())
            .flat_map(|step| &step.old);
        ended.any(|&last| {
            let last = &self.class(last).name;
            last.schema == name.schema && name.major <= last.major
        })
    }

    /// No lens leads from this class to a newer one.
    pub fn is_finest(&self, class: ClassId) -> bool {
        self.age(class) == 0
    }

    /// How many lenses lead on from this class to the newest one, by the longest way.
    pub fn age(&self, class: ClassId) -> usize {
        self.age[class.0]
    }
}

fn ambiguous(classes: &[Class], flaws: &mut Vec<(Place, Flaw)>) {
    for (n, a) in classes.iter().enumerate() {
        let mut flaw = |at, what, mend| flaws.push((Place::Class(ClassId(n)), Flaw::new(at, what, mend)));
        for b in &classes[..n] {
            if a.name == b.name {
                flaw(
                    "",
                    format!("class {} is declared twice", a.name),
                    "keep one schema for each major version",
                );
            } else if a.pattern.overlaps(&b.pattern)
                && a.pattern.is_within(&b.pattern) == b.pattern.is_within(&a.pattern)
            {
                flaw(
                    "/documentId",
                    format!("ids of {} and {} cannot be told apart", b.name, a.name),
                    "give one of them a `documentId` of its own",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{ClassName, IdPattern, pattern::DEFAULT};

    pub(super) fn class(name: &str, pattern: &str) -> Class {
        let name: ClassName = name.parse().unwrap();
        let pattern = IdPattern::new(pattern, &name).unwrap();
        let version = semver::Version::new(name.major, 0, 0);
        Class::new(name, version, pattern)
    }

    fn todo(first: &str) -> Registry {
        let classes = vec![
            class("todo-item@1", first),
            class("todo-item@2", DEFAULT),
            class("todo-item@3", DEFAULT),
            class("todo-item-status@1", DEFAULT),
            class("settings@1", "settings"),
        ];
        let step = |old: &[usize], new: &[usize]| Step {
            old: old.iter().copied().map(ClassId).collect(),
            new: new.iter().copied().map(ClassId).collect(),
            ..Step::default()
        };
        Registry::new(classes, vec![step(&[0], &[1, 3]), step(&[1], &[2])]).unwrap()
    }

    #[test]
    fn an_edit_crosses_each_lens_once() {
        let registry = todo(DEFAULT);
        let reached = |origin: usize| {
            let classes = (0..5).filter_map(|t| Some((t, registry.via(ClassId(origin), ClassId(t))?.0)));
            classes.collect::<Vec<_>>()
        };
        assert_eq!(reached(0), [(1, 0), (2, 1), (3, 0)]);
        assert_eq!(reached(2), [(0, 1), (1, 2)]);
        assert_eq!(reached(3), [(0, 3)]);
        assert_eq!(reached(4), []);
    }

    #[test]
    fn the_most_specific_pattern_claims_a_document() {
        let registry = todo("todo-item:{key}");
        assert_eq!(registry.classify("todo-item:a"), Some((ClassId(0), "a")));
        assert_eq!(registry.classify("todo-item:a:v:2"), Some((ClassId(1), "a")));
        assert_eq!(registry.classify("settings"), Some((ClassId(4), "")));
        assert_eq!(registry.classify("plain"), None);
        assert_eq!(registry.entity_ids(ClassId(1), "a:v:3"), None);
        let ids = registry.entity_ids(ClassId(1), "a").unwrap();
        assert_eq!(
            ids,
            [
                "todo-item:a",
                "todo-item:a:v:2",
                "todo-item:a:v:3",
                "todo-item-status:a:v:1"
            ]
        );
        assert_eq!(registry.entity(ClassId(4)), [ClassId(4)]);
        assert_eq!([0, 1, 2, 3].map(|n| registry.age(ClassId(n))), [2, 1, 0, 0]);
    }

    #[test]
    fn a_class_that_ends_is_tied_to_nothing_by_that() {
        let classes = || vec![class("a@1", DEFAULT), class("a@2", DEFAULT), class("b@1", "b")];
        let step = |old: &[usize], new: &[usize]| Step {
            old: old.iter().copied().map(ClassId).collect(),
            new: new.iter().copied().map(ClassId).collect(),
            ..Step::default()
        };
        let registry = Registry::new(classes(), vec![step(&[0], &[1]), step(&[1, 2], &[])]).unwrap();
        assert_eq!(registry.entity(ClassId(1)), [ClassId(0), ClassId(1)]);
        assert_eq!(registry.entity(ClassId(2)), [ClassId(2)]);
        assert_eq!([registry.flow(0), registry.flow(1)], [Some(Direction::Down), None]);
        assert_eq!([0, 1].map(|n| registry.is_finest(ClassId(n))), [false, true]);
        let ended = |registry: &Registry| [0, 1, 2].map(|n| registry.is_ended(ClassId(n)));
        assert_eq!(ended(&registry), [true, true, true]);
        let begun_anew = Registry::new(classes(), vec![step(&[0], &[])]).unwrap();
        assert_eq!(ended(&begun_anew), [true, false, false]);
        let flaws = Registry::new(classes(), vec![step(&[0], &[1]), step(&[0], &[])]).unwrap_err();
        assert_eq!(flaws[0].0, Place::Step(1));
    }

    #[test]
    fn refuses_cycles_and_ids_that_cannot_be_told_apart() {
        let classes = vec![class("a@1", DEFAULT), class("a@2", DEFAULT), class("a@3", DEFAULT)];
        let step = |a, b| Step {
            old: vec![ClassId(a)],
            new: vec![ClassId(b)],
            ..Step::default()
        };
        let flaws = Registry::new(classes, vec![step(0, 1), step(1, 2), step(0, 2)]).unwrap_err();
        assert!(flaws[0].1.what.contains("a@3 twice"), "{flaws:?}");
        let flaws = Registry::new(vec![class("a@1", "a:{key}"), class("b@1", "{key}:b")], vec![]).unwrap_err();
        assert!(flaws[0].1.what.contains("cannot be told apart"), "{flaws:?}");
    }
}
