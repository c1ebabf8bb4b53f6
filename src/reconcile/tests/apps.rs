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
    /// The entity, and those of the documents that it shares with others.
    pub entities: Vec<(ClassId, &'static str)>,
    /// For each version, the documents it writes; the first is the one that is deleted and re-created.
    writes: [&'static [usize]; 3],
    /// For each version, the documents it sees.
    sees: [&'static [usize]; 3],
    kind: Kind,
    /// Nobody has carried anything yet.
    pub has_copies: bool,
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
    /// `{todo@1} <-> {todo@2}`, `{todo@2} <-> {todo@3}`: the last embeds a group on its old side, and refers to it on its new.
    Share,
}

/// What an edit is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Topic {
    Title,
    Part,
    Group,
}

impl Topic {
    pub const ALL: [Self; 3] = [Self::Title, Self::Part, Self::Group];
}

/// The keys of the groups that todos are in, which are their first names.
pub const GROUPS: [&str; 3] = ["a", "b", "x"];

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
const NAMED: &str = "
old: todo@1
new: todo@2
steps: [{ rename: { from: title, to: name } }]
";
const SHARED: &str = "
old: todo@2
new: todo@3
share: [{ field: group, as: groupId, class: group@1, key: [name] }]
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
    use Kind::{Merge, MergeOptional, Share, Split, SplitOptional};
    proptest::sample::select(vec![Split, Merge, SplitOptional, MergeOptional, Share])
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
            Kind::Share => Self::load(
                kind,
                &["todo@1", "todo@2", "todo@3", "group@1"],
                [NAMED, SHARED],
                [&[0], &[1], &[2]],
                [&[0, 1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], &[2, 3, 4, 5]],
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
        let lenses = lenses.map(|text| compiled(text, &names));
        let classes = names.iter().map(|name| {
            let pattern = IdPattern::new(pattern::DEFAULT, name).unwrap();
            Class::new(name.clone(), semver::Version::new(name.major, 0, 0), pattern)
        });
        let steps = lenses.iter().map(|lens| lens.step().clone()).collect();
        let registry = Registry::new(classes.collect(), steps).unwrap();
        let mut entities = vec![(ClassId(0), "k")];
        if kind == Kind::Share {
            entities.extend(GROUPS.map(|key| (ClassId(3), key)));
        }
        let ids = entities
            .iter()
            .flat_map(|(class, key)| registry.entity_ids(*class, key).unwrap());
        let ids = ids.collect();
        Self {
            registry,
            lenses: lenses.into(),
            ids,
            entities,
            writes,
            sees,
            kind,
            has_copies: false,
        }
    }

    /// Another lens between the same classes.
    pub fn lens(&self, text: &str) -> Lens {
        let names: Vec<ClassName> = self.registry.classes().map(|(_, class)| class.name.clone()).collect();
        compiled(text, &names)
    }

    /// The same, with `merge: fields` in the newest classes.
    pub fn merging_fields(mut self) -> Self {
        let classes = self.registry.classes().map(|(id, class)| Class {
            merges_fields: self.registry.is_finest(id),
            ..class.clone()
        });
        self.registry = Registry::new(classes.collect(), self.registry.steps().to_vec()).unwrap();
        self
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
            Kind::SplitOptional | Kind::MergeOptional | Kind::Share => return false,
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

    /// Where a version's clients find the title, what is kept in a part somewhere (whether it is done, the street), and the group.
    pub fn place(&self, version: usize, topic: Topic) -> Option<(&str, &'static str)> {
        let main = self.main(version);
        let is_split = self.kind == Kind::Split;
        Some(match topic {
            Topic::Title if version == 3 && matches!(self.kind, Kind::Merge | Kind::MergeOptional) => (main, "name"),
            Topic::Title => (main, "title"),
            Topic::Part if is_split && version == 1 => (main, "isDone"),
            Topic::Part if is_split => (self.part(version)?, "status"),
            Topic::Part => (self.part(version).unwrap_or(main), "street"),
            Topic::Group if version == 3 => (main, "group"),
            Topic::Group => return None,
        })
    }

    /// One field changed, by choice: an odd one changes the title.
    pub fn edited(&self, version: usize, shown: Option<Value>, choice: u8, title: String) -> Value {
        let title_field = match (self.kind, version) {
            (Kind::Merge | Kind::MergeOptional, 3) | (Kind::Share, 2 | 3) => "name",
            _ => "title",
        };
        // The version whose document holds the street.
        let is_whole = matches!(
            (self.kind, version),
            (Kind::Merge | Kind::MergeOptional, 2) | (Kind::SplitOptional, 1)
        );
        let mut body = shown.unwrap_or_else(|| match (self.kind, version) {
            (Kind::Split, 1) => json!({"isDone": false}),
            (Kind::Share, 1 | 2) => json!({"group": {"name": "a", "color": "red"}}),
            (Kind::Share, _) => json!({"groupId": "a"}),
            (_, 3) => json!({"group": "x"}),
            _ => json!({}),
        });
        let letter = ["x", "y", "z"][usize::from(choice) % 3];
        match (self.kind, version, choice % 2) {
            (Kind::Split, 1, 0) => body["isDone"] = json!(body["isDone"] != true),
            (Kind::Share, 1 | 2, 0) if choice.is_multiple_of(4) => {
                body["group"] = json!({"name": GROUPS[usize::from(choice / 4) % 3], "color": "red"});
            }
            (Kind::Share, 3, 0) => body["groupId"] = json!(GROUPS[usize::from(choice) % 3]),
            (Kind::Share, _, 0) => body["note"] = json!(letter),
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
            Kind::Share => {
                prop_assert_eq!(field(0, "title"), field(1, "name"), "{:#?}", db);
                prop_assert_eq!(field(1, "name"), field(2, "name"), "{:#?}", db);
                prop_assert_eq!(field(0, "group"), field(1, "group"), "{:#?}", db);
                let group = |todo: &Value| {
                    let place = GROUPS.iter().position(|key| todo["groupId"] == **key)?;
                    let mut group = shown[3 + place].clone()?;
                    let fields = group.as_object_mut()?;
                    fields.remove("schema");
                    fields.remove("version");
                    Some(group)
                };
                let referred = shown[2].as_ref().and_then(group);
                let embedded = field(1, "group").filter(|group| !group.is_null());
                prop_assert_eq!(referred, embedded, "{:#?}", db);
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
        if self.kind == Kind::Share {
            prop_assert_eq!(of(0), of(1), "{:#?}", db);
            prop_assert_eq!(of(1), of(2), "{:#?}", db);
            return Ok(());
        }
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

    /// What a group is from now on, by choice.
    pub fn group_body(&self, choice: u8) -> Value {
        let of = |values: [&str; 3], choice: u8| values[usize::from(choice) % 3].to_owned();
        json!({"name": of(GROUPS, choice), "color": of(["red", "green", "blue"], choice / 3)})
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

fn compiled(text: &str, names: &[ClassName]) -> Lens {
    let file: LensFile = serde_saphyr::from_str(text).unwrap();
    file.compile(&|name| names.iter().position(|n| n == name).map(ClassId))
        .unwrap()
}
