//! `constant`: a field always has the same value on a side, and is not there on the other unless that has a value too. An exception
//! from GetPut: a document that has something else there does not keep it.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{Crossing, Edit, Operation, given, keep, side};
use crate::{
    couch::Fields,
    lens::{
        PutError,
        file::Scope,
        raw,
        shape::{Loss, Presence, Shape},
    },
    schema::{ClassName, Direction},
};

/// As it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConstantFile {
    #[serde(rename = "in")]
    within: Option<ClassName>,
    field: String,
    #[serde(default, deserialize_with = "given")]
    old: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    new: Option<Value>,
}

#[derive(Debug)]
struct Constant {
    field: String,
    /// On the old side, on the new side.
    values: [Option<Box<RawValue>>; 2],
}

impl ConstantFile {
    pub(super) fn compile(&self, scope: &mut Scope) -> Option<Operation> {
        scope.field("field", &self.field);
        let values = [&self.old, &self.new].map(|value| value.as_ref().map(raw));
        if values.iter().all(Option::is_none) {
            scope.flaw("", "neither side has a value", "add `old`, `new` or both");
        }
        let edit = Constant {
            field: self.field.clone(),
            values,
        };
        scope.edit(self.within.as_ref(), edit)
    }
}

impl Edit for Constant {
    fn put(&self, at: Crossing, here: &mut Fields, known: Option<&Fields>) -> Result<(), PutError> {
        match &self.values[side(at.to)] {
            Some(value) if known.is_none() || !at.is_lawful => here.set(&self.field, value.clone()),
            _ => keep(here, known, &self.field),
        }
        Ok(())
    }

    fn outline(&self, to: Direction, here: &mut Shape, losses: &mut Vec<Loss>) {
        here.end(&self.field, true, losses);
        if let Some(value) = &self.values[side(to)] {
            here.fields.insert(self.field.clone(), Presence::of_text(value));
        }
    }

    fn touches(&self) -> Vec<&str> {
        vec![&self.field]
    }
}
