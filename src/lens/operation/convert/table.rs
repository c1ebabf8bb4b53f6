//! Pairs of values, read in both directions: the first that fits counts.

use serde_json::{Value, value::RawValue};

use super::Mapping;
use crate::{
    lens::{operation::side, raw},
    schema::Direction,
};

#[derive(Debug)]
pub struct Table(Vec<[Entry; 2]>);

#[derive(Debug)]
struct Entry {
    value: Value,
    raw: Box<RawValue>,
}

impl Table {
    /// Rows of old and new value.
    pub fn new(rows: &[[Value; 2]]) -> Self {
        let entry = |value: &Value| Entry {
            value: value.clone(),
            raw: raw(value),
        };
        Self(rows.iter().map(|[old, new]| [entry(old), entry(new)]).collect())
    }
}

impl Mapping for Table {
    fn map(&self, to: Direction, value: &RawValue) -> Option<Box<RawValue>> {
        let (from, to) = (side(to.reverse()), side(to));
        let value: Value = serde_json::from_str(value.get()).ok()?;
        let row = self.0.iter().find(|row| row[from].value == value)?;
        Some(row[to].raw.clone())
    }
}
