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
    /// An object that the field does not enter: one of its name that is there already does not travel.
    fn without(&self, object: Presence, losses: &mut Vec<Loss>) -> Presence {
        let inner = object.inner.map(|mut inner| {
            inner.end(&self.field, false, losses);
            inner
        });
        Presence { inner, ..object }
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
        let mut object = here.fields.remove(&self.object);
        if to == self.inwards {
            let field = here.fields.remove(&self.field);
            object = match (object, field) {
                (object, None) => object.map(|object| self.without(object, losses)),
                (None, Some(field)) => Some(Presence {
                    required: field.required,
                    inner: Some(Shape::default().with(&self.field, field)),
                    items: None,
                }),
                (Some(object), Some(field)) => Some(Presence {
                    required: object.required || field.required,
                    inner: object.inner.map(|mut inner| {
                        let required = field.required;
                        // Where the object was not there, it is made for this field.
                        if !object.required {
                            inner.fields.values_mut().for_each(|field| field.required = false);
                        }
                        inner.set(&self.field, Some(Presence { required, ..field }), losses);
                        inner
                    }),
                    items: None,
                }),
            };
        } else {
            let mut field = None;
            object = object.and_then(|mut object| {
                let Some(inner) = &mut object.inner else {
                    // Whatever it holds, the field may be there.
                    field = Some(Presence::default());
                    return Some(object);
                };
                field = inner.fields.remove(&self.field);
                if let Some(field) = &mut field {
                    field.required &= object.required;
                    // One that held nothing else goes with the field.
                    object.required &= inner.fields.values().any(|field| field.required);
                    return (!inner.fields.is_empty()).then_some(object);
                }
                Some(object)
            });
            here.set(&self.field, field, losses);
        }
        if let Some(object) = object {
            here.fields.insert(self.object.clone(), object);
        }
    }

    fn touches(&self) -> Vec<&str> {
        vec![&self.field, &self.object]
    }
}
