//! `move`: a field stands in another document on each side; the value travels.

use serde::Deserialize;

use super::{Operation, keep, set};
use crate::{
    lens::{
        file::Scope,
        sequence::State,
        shape::{Loss, Shape},
    },
    schema::{ClassName, Direction},
};

/// As it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveFile {
    /// Its name on both sides.
    field: String,
    /// Its document on the old side.
    from: Option<ClassName>,
    /// Its document on the new side.
    to: Option<ClassName>,
}

/// A field that changes documents.
#[derive(Clone, Debug)]
pub struct Move {
    pub(super) field: String,
    old: usize,
    new: usize,
}

impl MoveFile {
    pub(super) fn compile(&self, scope: &mut Scope) -> Option<Operation> {
        scope.field("field", &self.field);
        let old = scope.slot("from", self.from.as_ref())?;
        let new = scope.slot("to", self.to.as_ref())?;
        if old == new {
            scope.flaw(
                "",
                "the field stays where it is",
                "name another document in `from` or `to`",
            );
        }
        Some(Operation::Move(Move {
            field: self.field.clone(),
            old,
            new,
        }))
    }
}

impl Move {
    /// On the source's side and on the target's.
    fn slots(&self, to: Direction) -> (usize, usize) {
        match to {
            Direction::Up => (self.old, self.new),
            Direction::Down => (self.new, self.old),
        }
    }

    pub(super) fn outline(&self, to: Direction, state: &mut [Shape], losses: &mut Vec<Loss>) {
        let (from, to) = self.slots(to);
        let presence = state[from].fields.remove(&self.field);
        state[to].set(&self.field, presence, losses);
    }

    pub(super) fn put(&self, to: Direction, state: &mut State, known: Option<&State>) {
        let (from, to) = self.slots(to);
        let value = state[from].take(&self.field);
        set(&mut state[to], &self.field, value);
        keep(&mut state[from], known.map(|known| &known[from]), &self.field);
    }
}
