//! `wrap` and `head`: a value on one side is the first element of an array on the other, whose other elements stay.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Crossing, Edit, Operation, set};
use crate::{
    couch::{Fields, document::same_value},
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
pub struct WrapFile {
    #[serde(rename = "in")]
    within: Option<ClassName>,
    field: String,
    #[serde(default)]
    removed: Removed,
}

/// What goes from the array when the single value does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Removed {
    /// The element that its author saw; the next one takes its place. An exception from PutGet: where there is a next one, what comes
    /// back is not what was put.
    #[default]
    First,
    /// Every element.
    All,
}

#[derive(Debug)]
struct Wrap {
    field: String,
    /// The direction that leads to the array.
    array: Direction,
    removed: Removed,
}

impl WrapFile {
    pub(super) fn compile(&self, array: Direction, scope: &mut Scope) -> Option<Operation> {
        scope.field("field", &self.field);
        let edit = Wrap {
            field: self.field.clone(),
            array,
            removed: self.removed,
        };
        scope.edit(self.within.as_ref(), edit)
    }
}

/// The single value that stands for an array, or for what should be one. Nothing and `null` are alike.
fn head(value: Option<&RawValue>) -> Option<Box<RawValue>> {
    let value = value?;
    match nested::array(value) {
        Some(elements) => elements.into_iter().next(),
        None => Some(value.to_owned()),
    }
}

fn same(a: Option<&RawValue>, b: Option<&RawValue>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same_value(a, b),
        (None, None) => true,
        (Some(value), None) | (None, Some(value)) => value.get() == "null",
    }
}

impl Wrap {
    /// The array for a single value.
    fn wrapped(&self, at: Crossing, value: Option<&RawValue>, known: Option<&RawValue>) -> Box<RawValue> {
        let mut elements = known.and_then(nested::array).unwrap_or_default();
        match value.filter(|value| value.get() != "null") {
            Some(value) if elements.is_empty() => elements.push(value.to_owned()),
            Some(value) => elements[0] = value.to_owned(),
            None if at.is_lawful || self.removed == Removed::All => elements.clear(),
            None => drop(elements.drain(..elements.len().min(1))),
        }
        nested::array_of(&elements)
    }
}

impl Edit for Wrap {
    fn put(&self, at: Crossing, here: &mut Fields, known: Option<&Fields>) -> Result<(), PutError> {
        let source = here.get(&self.field);
        let target = known.map(|known| known.get(&self.field));
        let made = if at.to == self.array {
            match target {
                Some(target) if same(head(target).as_deref(), source) => target.map(ToOwned::to_owned),
                _ => Some(self.wrapped(at, source, target.flatten())),
            }
        } else {
            let head = head(source);
            match target {
                Some(target) if same(target, head.as_deref()) => target.map(ToOwned::to_owned),
                _ => head,
            }
        };
        set(here, &self.field, made);
        Ok(())
    }

    fn outline(&self, to: Direction, here: &mut Shape, _: &mut Vec<Loss>) {
        let was = here.fields.remove(&self.field);
        let presence = if to == self.array {
            let items = was.map(|was| Box::new(Presence { required: true, ..was }));
            Some(Presence {
                required: true,
                inner: None,
                items,
            })
        } else {
            was.map(|was| was.items.map_or_else(Presence::default, |element| element.maybe()))
        };
        here.fields
            .extend(presence.map(|presence| (self.field.clone(), presence)));
    }

    fn touches(&self) -> Vec<&str> {
        vec![&self.field]
    }
}
