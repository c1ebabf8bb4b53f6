//! The apps that people in the histories use: one whose schema split a document, one whose schema merged two.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::couch_model::{Db, attachments_of};
use crate::{
    lens::{Lens, LensFile},
    schema::{Class, ClassId, ClassName, IdPattern, Registry, pattern},
};

/// An app in three versions, and one entity of it.
pub struct App {
    pub registry: Registry,
    pub lenses: Vec<Lens>,
    /// The documents of the entity, in the order of the registry.
    pub ids: Vec<String>,
    /// For each version, the documents it writes; the first is the one that is deleted and re-created.
    writes: [&'static [usize]; 3],
    /// For each version, the documents it sees.
    sees: [&'static [usize]; 3],
    kind: Kind,
}

/// What the app's schema did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `{todo-item@1} <-> {todo-item@2, todo-item-status@1}`, `{todo-item@2} <-> {todo-item@3}`: from the files that users get.
    Split,
    /// `{person@1, address@1} <-> {contact@2}`, `{contact@2} <-> {contact@3}`.
    Merge,
    /// `{contact@1} <-> {person@2, address@1}`, `{person@2} <-> {person@3}`: a person need not have an address.
    SplitOptional,
    /// As `Merge`, and a person need not have an address.
    MergeOptional,
}

const MERGED: &str = "
old: [person@1, address@1]
new: contact@2
parts: { address@1: { default: { street: unknown } } }
steps: [{ move: { field: street, from: address@1 } }]
";
const MERGED_OPTIONAL: &str = "
old: [person@1, address@1]
new: contact@2
parts: { address@1: { default: {}, empty: delete } }
steps: [{ move: { field: street, from: address@1 } }]
";
const SPLIT_OPTIONAL: &str = "
old: contact@1
new: [person@2, address@1]
parts: { address@1: { default: {}, empty: delete } }
steps: [{ move: { field: street, to: address@1 } }]
";
const GROUPED: &str = "
old: person@2
new: person@3
steps: [{ add: { field: group, value: default } }]
";
const RENAMED: &str = "
old: contact@2
new: contact@3
steps:
  - rename: { from: title, to: name }
  - add: { field: group, value: default }
";

pub fn kinds() -> impl Strategy<Value = Kind> {
    use Kind::{Merge, MergeOptional, Split, SplitOptional};
    proptest::sample::select(vec![Split, Merge, SplitOptional, MergeOptional])
}

impl App {
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Split => Self::load(
                kind,
                &["todo-item@1", "todo-item@2", "todo-item@3", "todo-item-status@1"],
                [
                    include_str!("../../../schemas/lenses/todo-item-1-to-2.yaml"),
                    include_str!("../../../schemas/lenses/todo-item-2-to-3.yaml"),
                ],
                [&[0], &[1, 3], &[2, 3]],
                [&[0, 1, 2, 3], &[1, 2, 3], &[2, 3]],
            ),
            Kind::SplitOptional => Self::load(
                kind,
                &["contact@1", "person@2", "person@3", "address@1"],
                [SPLIT_OPTIONAL, GROUPED],
                [&[0], &[1, 3], &[2, 3]],
                [&[0, 1, 2, 3], &[1, 2, 3], &[2, 3]],
            ),
            Kind::Merge | Kind::MergeOptional => Self::load(
                kind,
                &["person@1", "address@1", "contact@2", "contact@3"],
                [if kind == Kind::Merge { MERGED } else { MERGED_OPTIONAL }, RENAMED],
                [&[0, 1], &[2], &[3]],
                [&[0, 1, 2, 3], &[2, 3], &[3]],
            ),
        }
    }

    fn load(
        kind: Kind,
        names: &[&str],
        lenses: [&str; 2],
        writes: [&'static [usize]; 3],
        sees: [&'static [usize]; 3],
    ) -> Self {
        let names: Vec<ClassName> = names.iter().map(|name| name.parse().unwrap()).collect();
        let lenses = lenses.map(|text| {
            let file: LensFile = serde_saphyr::from_str(text).unwrap();
            file.compile(&|name| names.iter().position(|n| n == name).map(ClassId))
                .unwrap()
        });
        let classes = names.iter().map(|name| {
            let pattern = IdPattern::new(pattern::DEFAULT, name).unwrap();
            Class::new(name.clone(), semver::Version::new(name.major, 0, 0), pattern)
        });
        let steps = lenses.iter().map(|lens| lens.step().clone()).collect();
        let registry = Registry::new(classes.collect(), steps).unwrap();
        let ids = registry.entity_ids(ClassId(0), "k").unwrap();
        Self {
            registry,
            lenses: lenses.into(),
            ids,
            writes,
            sees,
            kind,
        }
    }

    pub fn all(&self) -> Vec<&str> {
        self.ids.iter().map(String::as_str).collect()
    }

    pub fn sees(&self, version: usize) -> Vec<&str> {
        self.sees[version - 1].iter().map(|&n| self.ids[n].as_str()).collect()
    }

    /// The document that a version is about.
    pub fn main(&self, version: usize) -> &str {
        &self.ids[self.writes[version - 1][0]]
    }

    /// The document that a version writes beside it.
    pub fn part(&self, version: usize) -> Option<&str> {
        self.writes[version - 1].get(1).map(|&n| self.ids[n].as_str())
    }

    /// The main documents of all versions.
    pub fn mains(&self) -> Vec<&str> {
        (1..4).map(|version| self.main(version)).collect()
    }

    /// A document need not have its part.
    pub fn is_optional(&self) -> bool {
        matches!(self.kind, Kind::SplitOptional | Kind::MergeOptional)
    }

    /// It need not exist.
    pub fn is_optional_part(&self, id: &str) -> bool {
        self.is_optional() && id.starts_with("address")
    }

    /// A part does not exist yet, for which its lens waits.
    pub fn is_waiting(&self, db: &Db) -> bool {
        let part = match self.kind {
            Kind::Split => 3,
            Kind::Merge => 1,
            Kind::SplitOptional | Kind::MergeOptional => return false,
        };
        !db.0.contains_key(&self.ids[part])
    }

    /// Every document that an edit of `id` has to reach, itself included.
    pub fn reached(&self, id: &str) -> Vec<&str> {
        let class = |id: &str| self.registry.classify(id).unwrap().0;
        let reaches = |target: &str| target == id || self.registry.via(class(id), class(target)).is_some();
        self.all().into_iter().filter(|target| reaches(target)).collect()
    }

    /// What is written into a part, by choice.
    pub fn part_body(&self, choice: u8) -> Value {
        let of = |values: [&str; 3]| values[usize::from(choice) % 3].to_owned();
        match self.kind {
            Kind::Split => json!({"status": of(["active", "blocked", "done"])}),
            _ => json!({"street": of(["a", "b", "c"])}),
        }
    }

    /// One field changed, by choice: an odd one changes the title.
    pub fn edited(&self, version: usize, shown: Option<Value>, choice: u8, title: String) -> Value {
        let title_field = match (self.kind, version) {
            (Kind::Merge | Kind::MergeOptional, 3) => "name",
            _ => "title",
        };
        // The version whose document holds the street.
        let is_whole = matches!(
            (self.kind, version),
            (Kind::Merge | Kind::MergeOptional, 2) | (Kind::SplitOptional, 1)
        );
        let mut body = shown.unwrap_or_else(|| match (self.kind, version) {
            (Kind::Split, 1) => json!({"isDone": false}),
            (_, 3) => json!({"group": "x"}),
            _ => json!({}),
        });
        let letter = ["x", "y", "z"][usize::from(choice) % 3];
        match (self.kind, version, choice % 2) {
            (Kind::Split, 1, 0) => body["isDone"] = json!(body["isDone"] != true),
            (_, _, 0) if is_whole => match (body.as_object_mut(), self.is_optional() && choice.is_multiple_of(10)) {
                (Some(fields), true) => drop(fields.remove("street")),
                _ => body["street"] = json!(letter),
            },
            (_, 3, 0) => body["group"] = json!(letter),
            _ => body[title_field] = json!(title),
        }
        body
    }

    /// Every version shows the same.
    pub fn assert_agreement(&self, db: &Db) -> Result<(), TestCaseError> {
        let shown: Vec<Option<Value>> = self.ids.iter().map(|id| db.shown(id)).collect();
        let field = |n: usize, name: &str| shown[n].as_ref().map(|body| body[name].clone());
        self.assert_same_attachments(db, &shown)?;
        match self.kind {
            Kind::Split => {
                prop_assert_eq!(field(0, "title"), field(1, "title"), "{:#?}", db);
                prop_assert_eq!(field(1, "title"), field(2, "title"), "{:#?}", db);
                if let (Some(todo), Some(status)) = (&shown[0], &shown[3]) {
                    prop_assert_eq!(todo["isDone"] == true, status["status"] == "done", "{:#?}", db);
                }
            }
            Kind::SplitOptional => {
                prop_assert_eq!(field(0, "title"), field(1, "title"), "{:#?}", db);
                prop_assert_eq!(field(1, "title"), field(2, "title"), "{:#?}", db);
                self.assert_same_street(db, 0, 3)?;
            }
            Kind::Merge | Kind::MergeOptional => {
                if self.is_waiting(db) {
                    return Ok(());
                }
                prop_assert_eq!(field(0, "title"), field(2, "title"), "{:#?}", db);
                prop_assert_eq!(field(2, "title"), field(3, "name"), "{:#?}", db);
                prop_assert_eq!(field(2, "street"), field(3, "street"), "{:#?}", db);
                self.assert_same_street(db, 2, 1)?;
            }
        }
        Ok(())
    }

    /// The primary documents have the same, but for what the one of them that is whole has of its part.
    fn assert_same_attachments(&self, db: &Db, shown: &[Option<Value>]) -> Result<(), TestCaseError> {
        if self.is_waiting(db) {
            return Ok(());
        }
        let of = |n: usize| {
            let attachments = attachments_of(&shown[n].as_ref()?.to_string());
            let digests = attachments.iter().map(|(name, a)| (name.to_owned(), a.digest.clone()));
            Some(digests.collect::<BTreeMap<_, _>>())
        };
        let is_split = matches!(self.kind, Kind::Split | Kind::SplitOptional);
        let (parts, wholes) = if is_split {
            ([1, 2, 3], [0, 0])
        } else {
            ([0, 0, 1], [2, 3])
        };
        let [first, second, part] = parts.map(of);
        let [whole, same] = wholes.map(of);
        prop_assert_eq!(&first, &second, "{:#?}", db);
        prop_assert_eq!(&whole, &same, "{:#?}", db);
        // What came into a part while the whole was deleted, the whole does not have.
        if let (Some(first), Some(whole), true) = (first, whole, self.ids.iter().all(|id| db.live(id) < 2)) {
            let is_in_whole = |(name, digest): (&String, &String)| whole.get(name) == Some(digest);
            prop_assert!(first.iter().all(is_in_whole), "{:#?}", db);
            let mut all = part.unwrap_or_default();
            all.extend(first);
            prop_assert!(
                whole.iter().all(|(name, digest)| all.get(name) == Some(digest)),
                "{:#?}",
                db
            );
        }
        Ok(())
    }

    /// Of a part in conflict a merged document may hold one side only, the other having met a deletion.
    fn assert_same_street(&self, db: &Db, contact: usize, address: usize) -> Result<(), TestCaseError> {
        let live = db.live(&self.ids[address]);
        let is_told = live == 1 || live == 0 && self.is_optional() && db.live(&self.ids[contact]) == 1;
        if let (Some(contact), true) = (db.shown(&self.ids[contact]), is_told) {
            let address = db.shown(&self.ids[address]).unwrap_or_default();
            prop_assert_eq!(&contact["street"], &address["street"], "{:#?}", db);
        }
        Ok(())
    }
}
