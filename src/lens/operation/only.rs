//! `add` and `remove`: one side alone has a field. Where a target is there its own stays, even the lack of it; a new one gets the
//! declared value.

use serde::Deserialize;
use serde_json::Value;

use super::{Crossing, Edit, Operation, given, keep};
use crate::{
    couch::Fields,
    lens::{
        PutError,
        file::Scope,
        raw,
        shape::{Loss, Shape},
        template::{Default, Template},
    },
    schema::{ClassName, Direction},
};

/// As it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnlyFile {
    #[serde(rename = "in")]
    within: Option<ClassName>,
    field: String,
    /// What it is in new documents.
    #[serde(default, deserialize_with = "given")]
    value: Option<Value>,
    /// The same, made of other fields and the key.
    template: Option<String>,
}

#[derive(Debug)]
struct Only {
    /// The direction in which the field arrives.
    arrives: Direction,
    field: String,
    default: Default,
}

impl OnlyFile {
    pub(super) fn compile(&self, arrives: Direction, scope: &mut Scope) -> Option<Operation> {
        scope.field("field", &self.field);
        let default = match (&self.value, &self.template) {
            (Some(value), None) => Default::Constant(raw(value)),
            (None, Some(template)) => match Template::new(template) {
                Ok(template) => Default::Template(template),
                Err(what) => {
                    scope.flaw(
                        "template",
                        what,
                        "write gaps like `{title}` or `{$key}`, and a plain brace twice",
                    );
                    return None;
                }
            },
            (None, None) => {
                scope.flaw(
                    "",
                    format!("nothing says what `{}` is in new documents", self.field),
                    "add a `value`, or a `template` like `{title} ({$key})`",
                );
                return None;
            }
            (Some(_), Some(_)) => {
                scope.flaw("", "there are a `value` and a `template`", "take one of them out");
                return None;
            }
        };
        let edit = Only {
            arrives,
            field: self.field.clone(),
            default,
        };
        scope.edit(self.within.as_ref(), edit)
    }
}

impl Edit for Only {
    fn put(&self, at: Crossing, here: &mut Fields, known: Option<&Fields>) -> Result<(), PutError> {
        if known.is_none() && self.arrives == at.to {
            let value = self.default.value(at, here);
            here.set(&self.field, value);
        } else {
            keep(here, known, &self.field);
        }
        Ok(())
    }

    fn outline(&self, to: Direction, here: &mut Shape, losses: &mut Vec<Loss>) {
        here.end(&self.field, to != self.arrives, losses);
        if to == self.arrives {
            here.fields.insert(self.field.clone(), self.default.presence());
        }
    }

    fn touches(&self) -> Vec<&str> {
        vec![&self.field]
    }

    fn reads(&self) -> Vec<&str> {
        self.default.reads()
    }
}
