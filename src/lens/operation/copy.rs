//! `copy`: the new side has a field twice. Where the two differ, `resolve` says which one the old side sees.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Crossing, Edit, Operation, keep, same, set};
use crate::{
    couch::Fields,
    lens::{
        PutError,
        file::Scope,
        shape::{Loss, Presence, Shape},
    },
    schema::{ClassName, Direction},
};

/// As it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyFile {
    #[serde(rename = "in")]
    within: Option<ClassName>,
    field: String,
    /// The copy, on the new side.
    to: String,
    resolve: Resolve,
}

/// Which of two counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Resolve {
    Original,
    Copy,
    /// The one that is not what the old side has; the original, if neither is. An exception from both laws: where the two differ, each put
    /// shows the old side the one that it has not.
    Changed,
}

#[derive(Debug)]
struct Copy {
    field: String,
    copy: String,
    resolve: Resolve,
}

impl CopyFile {
    pub(super) fn compile(&self, scope: &mut Scope) -> Option<Operation> {
        scope.field("field", &self.field);
        scope.field("to", &self.to);
        if self.field == self.to {
            scope.flaw("to", "field and copy have one name", "give the copy a name of its own");
        }
        let edit = Copy {
            field: self.field.clone(),
            copy: self.to.clone(),
            resolve: self.resolve,
        };
        scope.edit(self.within.as_ref(), edit)
    }
}

impl Copy {
    /// What the old side sees, given what it had.
    fn resolved<'a>(&self, at: Crossing, new: &'a Fields, old: Option<&Fields>) -> Option<&'a RawValue> {
        let (original, copy) = (new.get(&self.field), new.get(&self.copy));
        let is_original = match self.resolve {
            Resolve::Copy => false,
            Resolve::Changed if !at.is_lawful => old.is_none_or(|old| !same(old.get(&self.field), original)),
            Resolve::Original | Resolve::Changed => true,
        };
        if is_original { original } else { copy }
    }
}

impl Edit for Copy {
    fn put(&self, at: Crossing, here: &mut Fields, known: Option<&Fields>) -> Result<(), PutError> {
        match at.to {
            Direction::Down => {
                let value = self.resolved(at, here, known).map(ToOwned::to_owned);
                set(here, &self.field, value);
                keep(here, known, &self.copy);
            }
            Direction::Up => match known.filter(|known| same(self.resolved(at, known, None), here.get(&self.field))) {
                Some(known) => {
                    keep(here, Some(known), &self.field);
                    keep(here, Some(known), &self.copy);
                }
                None => {
                    let value = here.get(&self.field).map(ToOwned::to_owned);
                    set(here, &self.copy, value);
                }
            },
        }
        Ok(())
    }

    fn outline(&self, to: Direction, here: &mut Shape, losses: &mut Vec<Loss>) {
        match to {
            Direction::Up => {
                let copy = here.fields.get(&self.field).cloned();
                here.set(&self.copy, copy, losses);
            }
            Direction::Down => {
                let (original, copy) = (here.fields.remove(&self.field), here.fields.remove(&self.copy));
                let seen = match self.resolve {
                    Resolve::Original => original,
                    Resolve::Copy => copy,
                    Resolve::Changed => match (original, copy) {
                        (Some(original), Some(copy)) => Some(original.or(copy)),
                        (one, other) => one.or(other).map(Presence::maybe),
                    },
                };
                here.fields.extend(seen.map(|seen| (self.field.clone(), seen)));
            }
        }
    }

    fn touches(&self) -> Vec<&str> {
        vec![&self.field, &self.copy]
    }
}
