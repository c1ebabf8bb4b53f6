//! `hoist` and `plunge`: a field stands in an object on one side, and beside it on the other; the value travels.

use serde::Deserialize;

use super::{Crossing, Edit, Operation, keep, set};
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

impl Nest {
    /// An object that the field leaves, and the field. One that held nothing else goes with it.
    fn parted(&self, mut object: Presence) -> (Option<Presence>, Option<Presence>) {
        let Some(inner) = &mut object.inner else {
            // Whatever it holds, the field may be there.
            return (Some(object), Some(Presence::default()));
        };
        let Some(mut field) = inner.fields.remove(&self.field) else {
            return (Some(object), None);
        };
        let is_left = !inner.fields.is_empty();
        field.required &= object.required;
        object.required &= inner.fields.values().any(|field| field.required);
        (is_left.then_some(object), Some(field))
    }
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

    fn outline(&self, to: Direction, here: &mut Shape, losses: &mut Vec<Loss>) {
        let object = here.fields.remove(&self.object);
        let object = if to == self.inwards {
            let entering = here.fields.remove(&self.field);
            let (object, hidden) = object.map_or((None, None), |object| {
                let is_known = object.inner.is_some();
                let (left, hidden) = self.parted(object.clone());
                // For a field that enters, the object stays.
                let object = if entering.is_some() { Some(object) } else { left };
                (object, hidden.filter(|_| is_known))
            });
            losses.extend(hidden.map(|_| Loss {
                field: format!("{}/{}", self.object, self.field),
                is_declared: false,
            }));
            match (object, entering) {
                (object, None) => object,
                (None, Some(field)) => Some(Presence {
                    required: field.required,
                    inner: Some(Shape::default().with(&self.field, field)),
                    items: None,
                }),
                (Some(object), Some(field)) => match object.inner {
                    None => {
                        // If it is no object, the field stays where it is.
                        here.fields.insert(self.field.clone(), field.maybe());
                        Some(object)
                    }
                    Some(mut inner) => {
                        // Where the object was not there, it is made for this field alone.
                        if !object.required {
                            inner.fields.values_mut().for_each(|field| field.required = false);
                        }
                        let required = object.required || field.required;
                        Some(Presence {
                            required,
                            inner: Some(inner.with(&self.field, field)),
                            items: None,
                        })
                    }
                },
            }
        } else {
            let (object, field) = object.map_or((None, None), |object| self.parted(object));
            here.set(&self.field, field, losses);
            object
        };
        here.fields.extend(object.map(|object| (self.object.clone(), object)));
    }

    fn touches(&self) -> Vec<&str> {
        vec![&self.field, &self.object]
    }
}
