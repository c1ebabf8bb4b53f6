//! `rename`: a field has another name on each side; the value travels.

use serde::Deserialize;

use super::{Crossing, Edit, Operation, keep};
use crate::{
    couch::Fields,
    lens::{
        PutError,
        file::Scope,
        shape::{Loss, Shape},
    },
    schema::{ClassName, Direction},
};

/// As it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenameFile {
    #[serde(rename = "in")]
    within: Option<ClassName>,
    from: String,
    to: String,
}

#[derive(Debug)]
struct Rename {
    old: String,
    new: String,
}

impl RenameFile {
    pub(super) fn compile(&self, scope: &mut Scope) -> Option<Operation> {
        scope.field("from", &self.from);
        scope.field("to", &self.to);
        let edit = Rename {
            old: self.from.clone(),
            new: self.to.clone(),
        };
        scope.edit(self.within.as_ref(), edit)
    }
}

impl Rename {
    /// On the source's side and on the target's.
    fn names(&self, to: Direction) -> (&str, &str) {
        match to {
            Direction::Up => (&self.old, &self.new),
            Direction::Down => (&self.new, &self.old),
        }
    }
}

impl Edit for Rename {
    fn put(&self, at: Crossing, here: &mut Fields, known: Option<&Fields>) -> Result<(), PutError> {
        let (from, to) = self.names(at.to);
        if from == to {
            return Ok(());
        }
        match here.get(from) {
            Some(_) => here.rename(from, to),
            None => drop(here.take(to)),
        }
        keep(here, known, from);
        Ok(())
    }

    fn outline(&self, to: Direction, here: &mut Shape, losses: &mut Vec<Loss>) {
        let (from, to) = self.names(to);
        let presence = here.fields.remove(from);
        here.set(to, presence, losses);
    }

    fn touches(&self) -> Vec<&str> {
        vec![&self.old, &self.new]
    }
}
