//! `within`: steps on a nested value. One that is no object has the single field `.`: itself.

use serde::Deserialize;

use super::{Crossing, Edit, Operation, OperationFile};
use crate::{
    couch::Fields,
    lens::{
        PutError,
        file::Scope,
        sequence::Sequence,
        shape::{Loss, Shape},
    },
    schema::{ClassName, Direction},
};

/// As it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithinFile {
    #[serde(rename = "in")]
    within: Option<ClassName>,
    field: String,
    steps: Vec<OperationFile>,
}

#[derive(Debug)]
struct Within {
    field: String,
    steps: Sequence,
}

impl WithinFile {
    pub(super) fn compile(&self, scope: &mut Scope) -> Option<Operation> {
        scope.field("field", &self.field);
        let steps = scope.nested_steps("steps", &self.steps);
        let edit = Within {
            field: self.field.clone(),
            steps,
        };
        scope.edit(self.within.as_ref(), edit)
    }
}

impl Edit for Within {
    fn put(&self, at: Crossing, here: &mut Fields, known: Option<&Fields>) -> Result<(), PutError> {
        if let Some(source) = here.get(&self.field) {
            let known = known.and_then(|known| known.get(&self.field));
            let known = known.map(|value| self.steps.know(at, value));
            let made = self.steps.put_value(at, source, known.as_ref());
            here.set(&self.field, made.map_err(|error| error.within(&self.field))?);
        }
        Ok(())
    }

    fn outline(&self, to: Direction, here: &mut Shape, losses: &mut Vec<Loss>) {
        if let Some(value) = here.fields.get_mut(&self.field) {
            *value = self.steps.outline_value(to, &self.field, std::mem::take(value), losses);
        }
    }

    fn touches(&self) -> Vec<&str> {
        vec![&self.field]
    }
}
