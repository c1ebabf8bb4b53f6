//! A list of operations, run in either direction: a lens is one, and so are the steps on a nested value.

use serde_json::value::RawValue;

use super::{
    PutError, nested,
    operation::{Crossing, Operation},
};
use crate::{
    couch::{Fields, document::same_value},
    schema::Direction,
};

/// The fields of each document at one place in a list of operations; of a nested value, its own alone.
pub type State = Vec<Fields>;

/// Operations from the old side to the new.
#[derive(Clone, Debug, Default)]
pub struct Sequence {
    operations: Vec<Operation>,
    /// What they touch and what they read, put together once.
    names: Vec<String>,
}

/// A nested value of the target, and what was known at each place in the list of operations on it.
#[derive(Debug)]
pub struct Known<'a> {
    value: &'a RawValue,
    /// The value as it looks from the source's side.
    image: Box<RawValue>,
    places: Vec<State>,
}

impl Sequence {
    /// The operations, the one next to the old side first.
    pub fn new(operations: Vec<Operation>) -> Self {
        let names = operations.iter().flat_map(|o| o.touches().into_iter().chain(o.reads()));
        Self {
            names: names.map(str::to_owned).collect(),
            operations,
        }
    }

    /// The operations, the one next to the old side first.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// What the target knew before and after each operation, in the order in which `to` meets them.
    pub fn walk_back(&self, at: Crossing, target: State) -> Vec<State> {
        let mut known = vec![target];
        for (n, operation) in self.in_order(at.to.reverse()).enumerate() {
            let mut before = known[n].clone();
            // A value that cannot be walked back is not known further down; it stays in reach of this operation.
            if operation.put(at.reverse(), &mut before, None).is_err() {
                before.clone_from(&known[n]);
            }
            known.push(before);
        }
        known.reverse();
        known
    }

    /// Takes `state` across. `known` is of [`walk_back`](Self::walk_back); none where there is no target yet.
    pub fn run(&self, at: Crossing, state: &mut State, known: Option<&[State]>) -> Result<(), PutError> {
        for (n, operation) in self.in_order(at.to).enumerate() {
            operation.put(at, state, known.and_then(|known| known.get(n + 1)))?;
        }
        Ok(())
    }

    /// Takes `state` across to where `target` is.
    pub fn put(&self, at: Crossing, state: &mut State, target: Option<&State>) -> Result<(), PutError> {
        let known = target.map(|target| self.walk_back(at, target.clone()));
        self.run(at, state, known.as_deref())
    }

    /// What is known of a nested value.
    pub fn know<'a>(&self, at: Crossing, value: &'a RawValue) -> Known<'a> {
        let places = self.walk_back(at, vec![nested::fields(value)]);
        Known {
            value,
            image: match value.get() {
                "null" => value.to_owned(),
                _ => nested::value(&places[0][0]),
            },
            places,
        }
    }

    /// Takes a nested value across. A target that stands for it stays; `null` is nothing, and stays.
    pub fn put_value(&self, at: Crossing, source: &RawValue, known: Option<&Known>) -> Result<Box<RawValue>, PutError> {
        if let Some(known) = known.filter(|known| same_value(&known.image, source)) {
            return Ok(known.value.to_owned());
        }
        if source.get() == "null" {
            return Ok(source.to_owned());
        }
        let mut fields = nested::fields(source);
        // A value that becomes an object says nothing of what else that holds.
        if let (Some(value), Some(known)) = (fields.get(nested::ITSELF).map(ToOwned::to_owned), known) {
            fields = known.places[0][0].clone();
            fields.set(nested::ITSELF, value);
        }
        let mut state = vec![fields];
        self.run(at, &mut state, known.map(|known| &*known.places))?;
        Ok(nested::value(&state[0]))
    }

    /// Whether the operations touch or read a field of this name, in whatever document.
    pub fn sees(&self, field: &str) -> bool {
        self.names.iter().any(|name| name == field)
    }

    /// The names of the fields that the operations change, in whatever document.
    pub fn touches(&self) -> Vec<&str> {
        self.operations.iter().flat_map(Operation::touches).collect()
    }

    /// The names of the fields that they only look at.
    pub fn reads(&self) -> Vec<&str> {
        self.operations.iter().flat_map(Operation::reads).collect()
    }

    /// In the order in which a direction meets them.
    pub(super) fn in_order(&self, to: Direction) -> impl Iterator<Item = &Operation> {
        let last = self.operations.len();
        (0..last).map(move |n| match to {
            Direction::Up => &self.operations[n],
            Direction::Down => &self.operations[last - 1 - n],
        })
    }
}

impl Known<'_> {
    /// The value as it looks from the source's side.
    pub fn image(&self) -> &RawValue {
        &self.image
    }
}
