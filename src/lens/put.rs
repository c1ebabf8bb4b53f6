//! Crossing a lens.

use super::{Lens, Made, Put, PutError, operation::State};
use crate::{couch::Fields, schema::Direction};

impl Lens {
    /// Makes one document of those on the other side.
    pub fn put(&self, put: &Put) -> Result<Made, PutError> {
        if let Some(script) = &self.script {
            return script.put(self, put);
        }
        let Put { to, target, .. } = *put;
        let (near, _) = self.step.sides(to);
        let mut state: State = vec![Fields::default(); self.slots()];
        for (&class, source) in near.iter().zip(put.sources) {
            if let Some(fields) = source.or(self.default_of(class)) {
                state[self.slot(class)] = fields.clone();
            }
        }
        let slot = self.slot(target);
        let known = put.old.map(|old| self.walk_back(to, slot, old));
        // A part keeps what it holds beside the fields that reach it; between primaries the source's fields travel.
        if let Some(leftover) = known
            .as_ref()
            .and_then(|known| known.first())
            .filter(|_| slot != super::PRIMARY)
        {
            state[slot] = leftover[slot].clone();
        }
        for (n, operation) in self.in_order(to).enumerate() {
            operation.put(to, &mut state, known.as_ref().map(|known| &known[n + 1]))?;
        }
        Ok(Made::Document(state.swap_remove(slot)))
    }

    /// What the target knew before and after each operation, in the order in which `to` meets them. Of a primary only
    /// the fields that operations touch are looked at.
    fn walk_back(&self, to: Direction, slot: usize, old: &Fields) -> Vec<State> {
        let is_touched = |name: &str| {
            self.operations
                .iter()
                .any(|operation| operation.fields().any(|f| f == name))
        };
        let fields = old
            .iter()
            .filter(|(name, _)| slot != super::PRIMARY || is_touched(name));
        let mut state: State = vec![Fields::default(); self.slots()];
        state[slot] = fields.map(|(name, value)| (name, value.to_owned())).collect();
        let mut known = vec![state.clone()];
        let operations: Vec<_> = self.in_order(to).collect();
        for operation in operations.into_iter().rev() {
            // A value that cannot be walked back is not known further down; it stays in reach of this operation.
            let mut before = state.clone();
            if operation.put(to.reverse(), &mut before, None).is_ok() {
                state = before;
            }
            known.push(state.clone());
        }
        known.reverse();
        known
    }

    fn in_order(&self, to: Direction) -> impl DoubleEndedIterator<Item = &super::operation::Operation> {
        let last = self.operations.len();
        (0..last).map(move |n| match to {
            Direction::Up => &self.operations[n],
            Direction::Down => &self.operations[last - 1 - n],
        })
    }
}
