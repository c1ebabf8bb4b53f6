//! `add` and `remove`: one side alone has a field. Where a target is there its own stays, even the lack of it; a new one gets the
//! declared value, or lacks the field if it is optional.

use serde::Deserialize;
use serde_json::Value;

use super::{Crossing, Edit, Operation, given, keep};
use crate::{
    couch::Fields,
    lens::{
        PutError,
        file::Scope,
        raw,
        shape::{Loss, Presence, Shape},
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
    /// New documents do not have it.
    #[serde(default)]
    optional: bool,
}

#[derive(Debug)]
struct Only {
    /// The direction in which the field arrives.
    arrives: Direction,
    field: String,
    /// None: it is optional.
    default: Option<Default>,
}

impl OnlyFile {
    pub(super) fn compile(&self, arrives: Direction, scope: &mut Scope) -> Option<Operation> {
        scope.field("field", &self.field);
        let default = match (&self.value, &self.template, self.optional) {
            (Some(value), None, false) => Some(Default::Constant(raw(value))),
            (None, Some(template), false) => match Template::new(template) {
                Ok(template) => {
                    let default = Default::Template(template);
                    let mut unseen = default.reads();
                    unseen.retain(|name| scope.is_set(name));
                    for name in unseen {
                        scope.flaw(
                            "template",
                            format!("`{{{name}}}` is nothing that a lens sees"),
                            "name a field of the document, or write `{$key}`: the part of `_id` that all versions share",
                        );
                    }
                    Some(default)
                }
                Err(what) => {
                    scope.flaw(
                        "template",
                        what,
                        "write gaps like `{title}` or `{$key}`, and a plain brace twice",
                    );
                    return None;
                }
            },
            (None, None, true) => None,
            (None, None, false) => {
                scope.flaw(
                    "",
                    format!("nothing says what `{}` is in new documents", self.field),
                    "add a `value`, a `template` like `{title} ({$key})`, or `optional: true`",
                );
                return None;
            }
            (value, template, _) => {
                let given = [
                    value.as_ref().map(|_| "`value`"),
                    template.as_ref().map(|_| "`template`"),
                    self.optional.then_some("`optional`"),
                ];
                let given: Vec<&str> = given.into_iter().flatten().collect();
                scope.flaw("", format!("there are {}", given.join(" and ")), "keep one of them");
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
        match &self.default {
            Some(default) if known.is_none() && self.arrives == at.to => {
                let value = default.value(at, here);
                here.set(&self.field, value);
            }
            _ => keep(here, known, &self.field),
        }
        Ok(())
    }

    fn outline(&self, to: Direction, here: &mut Shape, losses: &mut Vec<Loss>) {
        here.end(&self.field, to != self.arrives, losses);
        if to == self.arrives {
            let presence = self.default.as_ref().map_or_else(Presence::default, Default::presence);
            here.fields.insert(self.field.clone(), presence);
        }
    }

    fn touches(&self) -> Vec<&str> {
        vec![&self.field]
    }

    fn reads(&self) -> Vec<&str> {
        self.default.as_ref().map_or_else(Vec::new, Default::reads)
    }
}
