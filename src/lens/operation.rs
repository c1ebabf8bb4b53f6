//! The operations of a lens. Each runs both ways and puts: it is shown what the target knew.

use serde_json::{Value, value::RawValue};

use super::{PutError, raw};
use crate::{
    couch::{Fields, document::same_value},
    schema::Direction,
};

/// The fields of each slot at one place in a lens's list of operations.
pub type State = Vec<Fields>;

/// One compiled operation; a slot is an index into [`State`].
#[derive(Clone, Debug)]
pub enum Operation {
    /// A field has another name on each side. The value travels.
    Rename {
        /// In which document.
        slot: usize,
        /// On the old side.
        old: String,
        /// On the new side.
        new: String,
    },
    /// A field stands in another document on each side. The value travels.
    Move {
        /// Its name on both sides.
        field: String,
        /// Its document on the old side.
        old: usize,
        /// Its document on the new side.
        new: usize,
    },
    /// A field that one side alone has: `add` (new) and `remove` (old). Arriving there it keeps the target's value, else
    /// it takes the declared one; leaving, it is dropped.
    Only {
        /// The direction in which it arrives.
        arrives: Direction,
        /// In which document.
        slot: usize,
        /// Its name.
        field: String,
        /// What it is where the target has none.
        value: Box<RawValue>,
    },
    /// A field whose values differ on each side. A target value that already maps to the source's stays.
    Convert {
        /// In which document.
        slot: usize,
        /// Its name on both sides.
        field: String,
        /// What maps to what.
        table: Table,
    },
}

/// A value table, read in both directions: the first row that holds the value decides.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<[Entry; 2]>,
    /// For values in no row and for a field that is absent: on the old side, on the new side.
    otherwise: [Option<Box<RawValue>>; 2],
}

#[derive(Clone, Debug)]
struct Entry {
    value: Value,
    raw: Box<RawValue>,
}

const fn side(direction: Direction) -> usize {
    match direction {
        Direction::Up => 1,
        Direction::Down => 0,
    }
}

impl Table {
    /// Rows of old and new value; `otherwise` for the old side and for the new.
    pub fn new(rows: &[[Value; 2]], otherwise: [Option<&Value>; 2]) -> Self {
        let entry = |value: &Value| Entry {
            value: value.clone(),
            raw: raw(value),
        };
        Self {
            rows: rows.iter().map(|[old, new]| [entry(old), entry(new)]).collect(),
            otherwise: otherwise.map(|value| value.map(raw)),
        }
    }

    /// The value on the side that `to` leads to. `Ok(None)`: an absent field stays absent. `Err`: no row.
    fn look_up(&self, to: Direction, value: Option<&RawValue>) -> Result<Option<&RawValue>, ()> {
        let (from, to) = (side(to.reverse()), side(to));
        let parsed = value.map(|value| serde_json::from_str::<Value>(value.get()));
        let row = match &parsed {
            Some(Ok(value)) => self.rows.iter().find(|row| row[from].value == *value),
            _ => None,
        };
        match (row, &self.otherwise[to]) {
            (Some(row), _) => Ok(Some(&row[to].raw)),
            (None, Some(otherwise)) => Ok(Some(otherwise)),
            (None, None) if value.is_none() => Ok(None),
            (None, None) => Err(()),
        }
    }

    /// What the target's field becomes: what it was, if that already stands for the source's value.
    fn put<'a>(
        &'a self,
        to: Direction,
        source: Option<&RawValue>,
        target: Option<&'a RawValue>,
    ) -> Result<Option<&'a RawValue>, ()> {
        let put = self.look_up(to, source)?;
        let kept = target.filter(|target| {
            let Ok(back) = self.look_up(to.reverse(), Some(target)) else {
                return false;
            };
            let same = |a: Option<&RawValue>, b: Option<&RawValue>| match (a, b) {
                (Some(a), Some(b)) => same_value(a, b),
                (a, b) => a.is_none() && b.is_none(),
            };
            same(back, source)
                || self
                    .look_up(to, back)
                    .is_ok_and(|again| put.is_some() && same(again, put))
        });
        Ok(kept.or(put))
    }
}

impl Operation {
    /// Takes `state` across in a direction. `known` is what the target knew, in the place that this operation leads to.
    pub fn put(&self, to: Direction, state: &mut State, known: Option<&State>) -> Result<(), PutError> {
        let known = |slot: usize, field: &str| known.and_then(|known| known[slot].get(field));
        match self {
            Operation::Rename { slot, old, new } => match to {
                Direction::Up => state[*slot].rename(old, new),
                Direction::Down => state[*slot].rename(new, old),
            },
            Operation::Move { field, old, new } => {
                let (from, to) = match to {
                    Direction::Up => (*old, *new),
                    Direction::Down => (*new, *old),
                };
                if let Some(value) = state[from].take(field) {
                    state[to].set(field, value);
                }
            }
            Operation::Only {
                arrives,
                slot,
                field,
                value,
            } => {
                let kept = known(*slot, field);
                match kept.or((*arrives == to).then_some(value)) {
                    Some(value) => state[*slot].set(field, value.to_owned()),
                    None => drop(state[*slot].take(field)),
                }
            }
            Operation::Convert { slot, field, table } => {
                let source = state[*slot].get(field);
                let put = table
                    .put(to, source, known(*slot, field))
                    .map_err(|()| PutError::NoValue {
                        field: field.clone(),
                        value: source.map_or_else(String::new, |value| value.get().to_owned()),
                        to: ["old", "new"][side(to)],
                    })?;
                match put.map(RawValue::to_owned) {
                    Some(value) => state[*slot].set(field, value),
                    None => drop(state[*slot].take(field)),
                }
            }
        }
        Ok(())
    }

    /// The fields that this operation reads or writes, on either side.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        let (a, b) = match self {
            Operation::Rename { old, new, .. } => (old, Some(new)),
            Operation::Move { field, .. } | Operation::Only { field, .. } | Operation::Convert { field, .. } => {
                (field, None)
            }
        };
        std::iter::once(a.as_str()).chain(b.map(String::as_str))
    }
}
