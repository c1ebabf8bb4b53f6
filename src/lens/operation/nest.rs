//! `hoist` and `plunge`: a field stands in an object on one side, and beside it on the other; the value travels.

use serde::Deserialize;

use super::{Crossing, Edit, Operation, keep, set};
use crate::{
    couch::Fields,
    lens::{PutError, file::Scope, nested},
    schema::{ClassName, Direction},
};

/// As it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoistFile {
    #[serde(rename = "in")]
    within: Option<ClassName>,
    field: String,
    /// The object, on the old side.
    from: String,
}

/// As it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlungeFile {
    #[serde(rename = "in")]
    within: Option<ClassName>,
    field: String,
    /// The object, on the new side.
    into: String,
}

#[derive(Debug)]
struct Nest {
    field: String,
    object: String,
    /// The direction that leads into the object.
    inwards: Direction,
}

impl HoistFile {
    pub(super) fn compile(&self, scope: &mut Scope) -> Option<Operation> {
        scope.field("from", &self.from);
        compile(self.within.as_ref(), &self.field, &self.from, Direction::Down, scope)
    }
}

impl PlungeFile {
    pub(super) fn compile(&self, scope: &mut Scope) -> Option<Operation> {
        scope.field("into", &self.into);
        compile(self.within.as_ref(), &self.field, &self.into, Direction::Up, scope)
    }
}

fn compile(
    within: Option<&ClassName>,
    field: &str,
    object: &str,
    inwards: Direction,
    scope: &mut Scope,
) -> Option<Operation> {
    scope.field("field", field);
    if field == object {
        scope.flaw(
            "field",
            "field and object have one name",
            "name a field beside the object",
        );
    }
    let edit = Nest {
        field: field.to_owned(),
        object: object.to_owned(),
        inwards,
    };
    scope.edit(within, edit)
}

impl Edit for Nest {
    fn put(&self, at: Crossing, here: &mut Fields, known: Option<&Fields>) -> Result<(), PutError> {
        let was = here.get(&self.object);
        let Some(mut object) = was.map_or(Some(Fields::default()), nested::object) else {
            return Ok(());
        };
        let was_there = was.is_some();
        let was_empty = was_there && object.iter().next().is_none();
        let known_object = known.and_then(|known| known.get(&self.object)).and_then(nested::object);
        if at.to == self.inwards {
            set(&mut object, &self.field, here.take(&self.field));
            keep(here, known, &self.field);
        } else {
            let value = object.take(&self.field);
            keep(&mut object, known_object.as_ref(), &self.field);
            set(here, &self.field, value);
        }
        // An object that held this field alone goes with it, unless the target has it all the same.
        let stays = object.iter().next().is_some() || was_empty || was_there && known_object.is_some();
        set(here, &self.object, stays.then(|| nested::object_of(&object)));
        Ok(())
    }

    fn touches(&self) -> Vec<&str> {
        vec![&self.field, &self.object]
    }
}
