//! `split` and `join`: a string on one side is several on the other. What stands for the same already stays.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Crossing, Edit, Operation, keep, same, set};
use crate::{
    couch::Fields,
    lens::{
        PutError,
        file::Scope,
        nested,
        shape::{Loss, Presence, Shape},
    },
    schema::{ClassName, Direction},
};

/// As it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitFile {
    #[serde(rename = "in")]
    within: Option<ClassName>,
    field: String,
    into: Vec<String>,
    #[serde(default = "space")]
    separator: String,
    #[serde(default)]
    at: Place,
}

/// As it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinFile {
    #[serde(rename = "in")]
    within: Option<ClassName>,
    fields: Vec<String>,
    into: String,
    #[serde(default = "space")]
    separator: String,
    #[serde(default)]
    at: Place,
}

/// Where to split, if there are more separators than needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    #[default]
    First,
    Last,
}

#[derive(Debug)]
struct Split {
    whole: String,
    parts: Vec<String>,
    separator: String,
    place: Place,
    /// The direction that leads to the parts.
    apart: Direction,
}

/// The values of the parts.
type Parts = Vec<Option<Box<RawValue>>>;

fn space() -> String {
    " ".to_owned()
}

impl SplitFile {
    pub(super) fn compile(&self, scope: &mut Scope) -> Option<Operation> {
        scope.field("field", &self.field);
        let edit = Split {
            whole: self.field.clone(),
            parts: self.into.clone(),
            separator: self.separator.clone(),
            place: self.at,
            apart: Direction::Up,
        };
        edit.check("into", scope);
        scope.edit(self.within.as_ref(), edit)
    }
}

impl JoinFile {
    pub(super) fn compile(&self, scope: &mut Scope) -> Option<Operation> {
        scope.field("into", &self.into);
        let edit = Split {
            whole: self.into.clone(),
            parts: self.fields.clone(),
            separator: self.separator.clone(),
            place: self.at,
            apart: Direction::Down,
        };
        edit.check("fields", scope);
        scope.edit(self.within.as_ref(), edit)
    }
}

impl Split {
    fn check(&self, at: &str, scope: &mut Scope) {
        for (n, part) in self.parts.iter().enumerate() {
            scope.field(&format!("{at}/{n}"), part);
            if self.parts[..n].contains(part) {
                scope.flaw(
                    &format!("{at}/{n}"),
                    format!("`{part}` is named twice"),
                    "name each field once",
                );
            }
        }
        if self.parts.len() < 2 {
            scope.flaw(at, "there are fewer than two parts", "name two fields or more");
        }
        if self.separator.is_empty() {
            scope.flaw(
                "separator",
                "the separator is empty",
                "write what stands between the parts",
            );
        }
    }

    /// A string in parts; those that it has not are empty. Anything else is the first part whole.
    fn split(&self, whole: Option<&RawValue>) -> Parts {
        let Some(whole) = whole else {
            return vec![None; self.parts.len()];
        };
        let text = nested::string(whole);
        let pieces: Vec<&str> = match (&text, self.place) {
            (None, _) => Vec::new(),
            (Some(text), Place::First) => text.splitn(self.parts.len(), &self.separator).collect(),
            (Some(text), Place::Last) => {
                let mut pieces: Vec<&str> = text.rsplitn(self.parts.len(), &self.separator).collect();
                pieces.reverse();
                pieces
            }
        };
        let mut parts: Parts = pieces.into_iter().map(nested::string_of).map(Some).collect();
        if text.is_none() {
            parts.push(Some(whole.to_owned()));
        }
        parts.resize_with(self.parts.len(), || Some(nested::string_of("")));
        parts
    }

    /// The parts in one string, without those that are empty. One that is alone is the whole as it is; of several, what is no
    /// string stands there as JSON.
    fn join(&self, parts: &Parts) -> Option<Box<RawValue>> {
        let mut filled = parts.iter().flatten().filter(|part| part.get() != "\"\"");
        if let (first, None) = (filled.next(), filled.next()) {
            return first.or(parts.iter().flatten().next()).cloned();
        }
        let texts = parts.iter().flatten().filter(|part| part.get() != "null");
        let texts = texts.map(|part| nested::string(part).unwrap_or_else(|| part.get().to_owned()));
        let texts: Vec<String> = texts.filter(|text| !text.is_empty()).collect();
        Some(nested::string_of(&texts.join(&self.separator)))
    }

    fn parts_of(&self, fields: &Fields) -> Parts {
        let part = |name: &String| fields.get(name).map(ToOwned::to_owned);
        self.parts.iter().map(part).collect()
    }
}

fn same_parts(a: &Parts, b: &Parts) -> bool {
    a.iter().zip(b).all(|(a, b)| same(a.as_deref(), b.as_deref()))
}

impl Edit for Split {
    fn put(&self, at: Crossing, here: &mut Fields, known: Option<&Fields>) -> Result<(), PutError> {
        if at.to == self.apart {
            let whole = here.take(&self.whole);
            let kept = known.map(|known| self.parts_of(known));
            let kept = kept.filter(|parts| same(self.join(parts).as_deref(), whole.as_deref()));
            let made = kept.unwrap_or_else(|| self.split(whole.as_deref()));
            keep(here, known, &self.whole);
            for (name, value) in self.parts.iter().zip(made) {
                set(here, name, value);
            }
        } else {
            let parts = self.parts_of(here);
            let kept = known.map(|known| known.get(&self.whole));
            let kept = kept.filter(|whole| same_parts(&self.split(*whole), &parts));
            let made = kept.map_or_else(|| self.join(&parts), |whole| whole.map(ToOwned::to_owned));
            self.parts.iter().for_each(|name| keep(here, known, name));
            set(here, &self.whole, made);
        }
        Ok(())
    }

    fn outline(&self, to: Direction, here: &mut Shape, losses: &mut Vec<Loss>) {
        if to == self.apart {
            let whole = here.fields.remove(&self.whole);
            for (n, name) in self.parts.iter().enumerate() {
                let part = whole.as_ref().map(|whole| match n {
                    // What is no string is the first part whole.
                    0 => whole.clone(),
                    _ => Presence {
                        required: whole.required,
                        ..Presence::default()
                    },
                });
                here.set(name, part, losses);
            }
        } else {
            let parts: Vec<Presence> = self.parts.iter().filter_map(|name| here.fields.remove(name)).collect();
            let whole = Presence {
                required: parts.iter().any(|part| part.required),
                ..Presence::default()
            };
            here.set(&self.whole, (!parts.is_empty()).then_some(whole), losses);
        }
    }

    fn touches(&self) -> Vec<&str> {
        self.parts.iter().chain([&self.whole]).map(String::as_str).collect()
    }
}
