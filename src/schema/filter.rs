//! Which documents a manifest keeps from a client, and the selector that makes CouchDB keep them away.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Manifest, Registry, Scope};
use crate::{couch::Selector, schema::ClassId};

/// What follows from a manifest: the classes its clients are not sent.
///
/// It looks at ids alone. Fields will not do: CouchDB drops every document that lacks a field named in a selector, and so
/// all plain documents, design documents and bare tombstones; deletes would never replicate.
#[derive(Clone, Debug)]
pub struct Filter {
    classes: Excluded,
    selector: Selector,
}

#[derive(Clone, Debug)]
struct Excluded {
    registry: Arc<Registry>,
    /// By class.
    is_excluded: Vec<bool>,
}

impl Filter {
    /// Excludes, of each schema the manifest depends on, the classes outside this scope, and of all others those that ended. A
    /// range that no class satisfies excludes nothing. None if nothing is excluded at all.
    pub fn new(registry: Arc<Registry>, manifest: &Manifest, scope: Scope) -> Option<Self> {
        let mut is_excluded = vec![false; registry.classes().count()];
        for (schema, range) in &manifest.dependencies {
            let of_schema: Vec<_> = registry
                .classes()
                .filter(|(_, class)| *class.name.schema == **schema)
                .collect();
            let is_current = |class: &super::Class| range.matches(&class.version);
            let Some(newest) = of_schema
                .iter()
                .filter(|(_, class)| is_current(class))
                .map(|(_, class)| class.name.major)
                .max()
            else {
                continue;
            };
            for (id, class) in of_schema.into_iter().filter(|(_, class)| !is_current(class)) {
                is_excluded[id.0] = match scope {
                    Scope::All => false,
                    Scope::CurrentAndNewer => class.name.major < newest,
                    Scope::Exact => true,
                };
            }
        }
        // What has no successor is of no use to whom it is not there for.
        if scope != Scope::All {
            for (id, class) in registry.classes() {
                is_excluded[id.0] |= registry.is_ended(id) && !manifest.dependencies.contains_key(&*class.name.schema);
            }
        }
        let classes = Excluded { registry, is_excluded };
        let selector = classes.selector()?;
        Some(Self { classes, selector })
    }

    /// Whether clients are sent this document. All that is of no class passes.
    pub fn admits(&self, doc_id: &str) -> bool {
        let class = self.classes.registry.classify(doc_id);
        class.is_none_or(|(class, _)| !self.classes.is_excluded[class.0])
    }

    /// Where all ids lie that are not admitted, among others: apart from each other, and in order. See [`IdPattern::range`].
    ///
    /// [`IdPattern::range`]: super::IdPattern::range
    pub fn ranges(&self) -> Vec<(String, Option<String>)> {
        let Excluded { registry, is_excluded } = &self.classes;
        let mut ranges: Vec<_> = registry
            .classes()
            .filter(|(class, _)| is_excluded[class.0])
            .map(|(_, class)| class.pattern.range())
            .collect();
        ranges.sort();
        let mut apart: Vec<(String, Option<String>)> = Vec::new();
        for (start, end) in ranges {
            match apart.last_mut() {
                Some((_, last)) if last.as_ref().is_none_or(|last| start < *last) => {
                    if last.is_some() && (end.is_none() || end > *last) {
                        *last = end;
                    }
                }
                _ => apart.push((start, end)),
            }
        }
        apart
    }

    /// The same as a Mango selector.
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// A short name of what is excluded, the same for every manifest that excludes the same: eight hex digits.
    pub fn tag(&self) -> &str {
        self.selector.tag()
    }
}

impl Excluded {
    /// None if nothing is excluded.
    fn selector(&self) -> Option<Selector> {
        let conditions = self.conditions(&self.topmost(None, true));
        if conditions.is_empty() {
            return None;
        }
        // Maps with text for keys always become JSON.
        let json = serde_json::value::to_raw_value(&all_of(conditions)).ok()?;
        Some(Selector::new(json.into()))
    }

    /// What an id has to fulfil not to be of these classes, nested patterns heeded. An id is of the class with the most
    /// specific pattern, so what an excluded pattern covers may still be of a class that passes.
    fn conditions(&self, excluded: &[ClassId]) -> Vec<Value> {
        let holds_others = |class: &&ClassId| !self.topmost(Some(**class), false).is_empty();
        let (nested, plain): (Vec<&ClassId>, Vec<&ClassId>) = excluded.iter().partition(holds_others);
        let mut conditions = Vec::new();
        if !plain.is_empty() {
            conditions.push(json!({"_id": {"$not": {"$regex": self.regex(&plain)}}}));
        }
        for class in nested {
            let mut any = vec![json!({"_id": {"$not": {"$regex": self.regex(&[class])}}})];
            for within in self.topmost(Some(*class), false) {
                let mut all = vec![json!({"_id": {"$regex": self.regex(&[&within])}})];
                all.extend(self.conditions(&self.topmost(Some(within), true)));
                any.push(all_of(all));
            }
            conditions.push(json!({"$or": any}));
        }
        conditions
    }

    /// The outermost classes, within `scope`, that are excluded or not. Patterns nest or are apart, so these are apart.
    fn topmost(&self, scope: Option<ClassId>, is_excluded: bool) -> Vec<ClassId> {
        let pattern = |class: ClassId| &self.registry.class(class).pattern;
        let is_within = |inner: ClassId, outer: ClassId| inner != outer && pattern(inner).is_within(pattern(outer));
        let candidates: Vec<ClassId> = self
            .registry
            .classes()
            .map(|(class, _)| class)
            .filter(|&class| self.is_excluded[class.0] == is_excluded)
            .filter(|&class| scope.is_none_or(|scope| is_within(class, scope)))
            .collect();
        let is_outermost = |class: &ClassId| !candidates.iter().any(|&other| is_within(*class, other));
        candidates.iter().copied().filter(is_outermost).collect()
    }

    /// Anchored, and without lookaheads, which the `regex` crate has not. `\z` because PCRE's `$` also stands before a
    /// last line feed.
    fn regex(&self, classes: &[&ClassId]) -> String {
        let patterns: Vec<String> = classes
            .iter()
            .map(|&&class| self.registry.class(class).pattern.regex())
            .collect();
        format!(r"(?s)^(?:{})\z", patterns.join("|"))
    }
}

fn all_of(mut conditions: Vec<Value>) -> Value {
    if conditions.len() == 1 {
        conditions.swap_remove(0)
    } else {
        json!({"$and": conditions})
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::{Class, ClassName, IdPattern, pattern::DEFAULT};

    fn registry(classes: &[(&str, &str)]) -> Arc<Registry> {
        let class = |(name, pattern): &(&str, &str)| {
            let name: ClassName = name.parse().unwrap();
            let pattern = IdPattern::new(pattern, &name).unwrap();
            let version = semver::Version::new(name.major, 1, 0);
            Class::new(name, version, pattern)
        };
        Arc::new(Registry::new(classes.iter().map(class).collect(), vec![]).unwrap())
    }

    fn todo(first: &str) -> Arc<Registry> {
        registry(&[
            ("todo-item@1", first),
            ("todo-item@2", DEFAULT),
            ("todo-item@3", DEFAULT),
            ("todo-item-status@1", DEFAULT),
            ("settings@1", "settings"),
        ])
    }

    fn filter(registry: &Arc<Registry>, range: &str, scope: Scope) -> Option<Filter> {
        let manifest = json!({"name": "a", "version": "1.0.0",
            "dependencies": {"todo-item": range, "settings": "^1.0.0"}});
        Filter::new(registry.clone(), &serde_json::from_value(manifest).unwrap(), scope)
    }

    fn matches(filter: &Filter, id: &str) -> bool {
        let selector = serde_json::from_str(filter.selector().json().get()).unwrap();
        let selector = rouchdb_query::CompiledSelector::new(&selector);
        selector.unwrap().matches(&json!({"_id": id}))
    }

    #[test]
    fn older_classes_are_kept_away() {
        let registry = todo(DEFAULT);
        assert!(filter(&registry, "^1.0.0", Scope::CurrentAndNewer).is_none());
        assert!(filter(&registry, "^3.0.0", Scope::All).is_none());
        assert_eq!(
            filter(&registry, "^2.0.0", Scope::CurrentAndNewer)
                .unwrap()
                .selector()
                .to_string(),
            r#"{"_id":{"$not":{"$regex":"(?s)^(?:todo\\-item:.+:v:1)\\z"}}}"#
        );
        let two = filter(&registry, "^2.0.0", Scope::Exact).unwrap();
        let admitted = |id: &&str| two.admits(id);
        let ids = [
            "todo-item:a:v:1",
            "todo-item:a:v:2",
            "todo-item:a:v:3",
            "todo-item-status:a:v:1",
            "settings",
            "x",
        ];
        let passed: Vec<_> = ids.into_iter().filter(admitted).collect();
        assert_eq!(passed, ["todo-item:a:v:2", "todo-item-status:a:v:1", "settings", "x"]);
    }

    #[test]
    fn a_wide_range_keeps_all_that_it_accepts() {
        let registry = todo(DEFAULT);
        let both = filter(&registry, ">=2.0.0, <4.0.0", Scope::CurrentAndNewer).unwrap();
        assert!(!both.admits("todo-item:a:v:1"));
        assert!(both.admits("todo-item:a:v:2") && both.admits("todo-item:a:v:3"));
        assert!(filter(&registry, "^9.0.0", Scope::Exact).is_none());
    }

    #[test]
    fn what_lies_within_an_excluded_pattern_passes() {
        let filter = filter(&todo("todo-item:{key}"), "^2.0.0", Scope::CurrentAndNewer).unwrap();
        for (id, passes) in [
            ("todo-item:a", false),
            ("todo-item:a:v:2", true),
            ("todo-item::v:2", false),
            ("todo-item:a:v:2\n", false),
            ("todo-item:ä\n:v:3", true),
            ("todo-item:", true),
            ("_design/todo-item:a", true),
        ] {
            assert_eq!(filter.admits(id), passes, "{id}");
            assert_eq!(matches(&filter, id), passes, "{id}");
        }
    }

    #[test]
    fn what_ended_is_kept_from_those_who_do_not_name_it() {
        let class = |name: &str| {
            let name: ClassName = name.parse().unwrap();
            let pattern = IdPattern::new(DEFAULT, &name).unwrap();
            Class::new(name, semver::Version::new(1, 0, 0), pattern)
        };
        let end = crate::schema::Step {
            old: vec![ClassId(1)],
            new: vec![],
            ..Default::default()
        };
        let registry = Registry::new(vec![class("todo-item@1"), class("todo-color@1")], vec![end]).unwrap();
        let filter = |dependencies: Value, scope| {
            let manifest = json!({"name": "a", "version": "1.0.0", "dependencies": dependencies});
            Filter::new(
                registry.clone().into(),
                &serde_json::from_value(manifest).unwrap(),
                scope,
            )
        };
        let without = filter(json!({"todo-item": "^1.0.0"}), Scope::CurrentAndNewer).unwrap();
        assert!(without.admits("todo-item:a:v:1") && !without.admits("todo-color:a:v:1"));
        assert!(filter(json!({"todo-item": "^1.0.0"}), Scope::All).is_none());
        let with = json!({"todo-item": "^1.0.0", "todo-color": "^1.0.0"});
        assert!(filter(with, Scope::Exact).is_none());
    }

    /// Patterns that nest up to three deep.
    fn nested() -> Arc<Registry> {
        registry(&[
            ("todo-item@1", "t:{key}"),
            ("todo-item@2", "t:{key}:b"),
            ("todo-item@3", "t:a:{key}:b"),
            ("todo-item@4", "t:a:b:{key}:b"),
            ("todo-item@5", "t:a"),
            ("other@1", "t:b{key}:a"),
        ])
    }

    #[test]
    fn ranges_are_apart() {
        let ranges = |registry: &Arc<Registry>, range| filter(registry, range, Scope::Exact).unwrap().ranges();
        let range = |start: &str, end: &str| (start.to_owned(), Some(end.to_owned()));
        assert_eq!(ranges(&todo(DEFAULT), "^2"), [range("todo-item:", "todo-item;")]);
        assert_eq!(ranges(&nested(), "^1"), [range("t:", "t;")]);
        assert_eq!(
            ranges(&nested(), ">=1, <4"),
            [range("t:a", "t:a\0"), range("t:a:b:", "t:a:b;")]
        );
    }

    proptest! {
        /// Whatever is kept away lies in a range.
        #[test]
        fn ranges_hold_all_that_is_kept_away(
            parts in proptest::collection::vec(proptest::sample::select(vec!["t", ":", "a", "b", "\u{10ffff}"]), 0..9),
            range in proptest::sample::select(vec!["^1", "^2", "^3", "^4", "^5", ">=2, <5"]),
        ) {
            let id = parts.concat();
            let filter = filter(&nested(), range, Scope::Exact).unwrap();
            let holds = |(start, end): &(String, Option<String>)| *start <= id && end.as_ref().is_none_or(|end| id < *end);
            prop_assert!(filter.admits(&id) || filter.ranges().iter().any(holds));
        }

        /// The selector lets pass what `admits` admits, and nothing else.
        #[test]
        fn the_selector_says_the_same(
            parts in proptest::collection::vec(proptest::sample::select(vec!["t", ":", "a", "b", ":v:", "todo-item", "1", "2", "\n", "."]), 0..9),
            range in proptest::sample::select(vec!["^1", "^2", "^3", "^4", "^5", ">=2, <5", "*"]),
            scope in proptest::sample::select(vec![Scope::CurrentAndNewer, Scope::Exact]),
        ) {
            let id = parts.concat();
            for registry in [nested(), todo(DEFAULT), todo("todo-item:{key}")] {
                if let Some(filter) = filter(&registry, range, scope) {
                    prop_assert_eq!(matches(&filter, &id), filter.admits(&id), "{} {:?}", id, filter.selector());
                }
            }
        }
    }
}
