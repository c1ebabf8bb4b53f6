//! `when`: steps for the documents whose field has some value, and others for the rest. The steps leave that field alone, so that both
//! directions decide alike.

use serde::Deserialize;
use serde_json::Value;

use super::{Crossing, Operation, OperationFile, given};
use crate::{
    couch::Fields,
    lens::{
        PRIMARY, PutError,
        file::Scope,
        sequence::{Sequence, State},
        shape::{Loss, Shape},
    },
    schema::Direction,
};

/// As it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhenFile {
    /// Of the primary, or of the nested value.
    field: String,
    #[serde(default, deserialize_with = "given")]
    is: Option<Value>,
    among: Option<Vec<Value>>,
    exists: Option<bool>,
    steps: Vec<OperationFile>,
    #[serde(default)]
    otherwise: Vec<OperationFile>,
}

/// Steps behind a condition.
#[derive(Clone, Debug)]
pub struct When {
    field: String,
    condition: Condition,
    steps: Sequence,
    otherwise: Sequence,
}

#[derive(Clone, Debug)]
enum Condition {
    Among(Vec<Value>),
    Exists(bool),
}

impl WhenFile {
    pub(super) fn compile(&self, scope: &mut Scope) -> Option<Operation> {
        scope.field("field", &self.field);
        let condition = match (&self.is, &self.among, self.exists) {
            (Some(value), None, None) => Condition::Among(vec![value.clone()]),
            (None, Some(values), None) => Condition::Among(values.clone()),
            (None, None, Some(exists)) => Condition::Exists(exists),
            _ => {
                scope.flaw(
                    "",
                    "there is not one condition",
                    "write one of `is`, `among` and `exists`",
                );
                return None;
            }
        };
        let when = When {
            field: self.field.clone(),
            condition,
            steps: scope.steps("steps", &self.steps),
            otherwise: scope.steps("otherwise", &self.otherwise),
        };
        for (at, steps) in [("steps", &when.steps), ("otherwise", &when.otherwise)] {
            if steps.touches().contains(&&*when.field) {
                scope.flaw(
                    at,
                    format!("these steps change `{}`, which decides about them", when.field),
                    "change it in a step before or after this one",
                );
            }
        }
        Some(Operation::When(when))
    }
}

impl When {
    pub(super) fn put(&self, at: Crossing, state: &mut State, known: Option<&State>) -> Result<(), PutError> {
        let holds = self.holds(&state[PRIMARY]);
        let steps = if holds { &self.steps } else { &self.otherwise };
        // A target for which the other steps count is of another kind: nothing in it is known to these.
        let known = known.filter(|known| self.holds(&known[PRIMARY]) == holds);
        steps.put(at, state, known)
    }

    /// Of either kind of documents: what holds of both.
    pub(super) fn outline(&self, to: Direction, state: &mut [Shape], losses: &mut Vec<Loss>) {
        let mut others = state.to_vec();
        self.steps.outline(to, state, losses);
        self.otherwise.outline(to, &mut others, losses);
        for (shape, other) in state.iter_mut().zip(others) {
            *shape = std::mem::take(shape).or(other);
        }
    }

    fn holds(&self, fields: &Fields) -> bool {
        let value = fields.get(&self.field);
        match &self.condition {
            Condition::Exists(exists) => value.is_some() == *exists,
            Condition::Among(values) => {
                let value = value.and_then(|value| serde_json::from_str::<Value>(value.get()).ok());
                value.is_some_and(|value| values.contains(&value))
            }
        }
    }

    pub(super) fn touches(&self) -> Vec<&str> {
        [self.steps.touches(), self.otherwise.touches()].concat()
    }

    pub(super) fn reads(&self) -> Vec<&str> {
        let inner = [&self.steps, &self.otherwise].into_iter().flat_map(Sequence::reads);
        inner.chain([&*self.field]).collect()
    }
}
