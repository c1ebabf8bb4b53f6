//! Crossing a lens.

use super::{Lens, Made, PRIMARY, Put, PutError, operation::Crossing, sequence::State};
use crate::{couch::Fields, schema::bare};

impl Lens {
    /// Makes one document of those on the other side.
    pub fn put(&self, put: &Put) -> Result<Made, PutError> {
        let made = match &self.script {
            Some(script) => script.put(self, put)?,
            None => Made::Document(self.run_steps(put)?),
        };
        Ok(self.kept(put, made))
    }

    /// There need not be a part that holds no more than its default. But one that says the same already stays, empty or not:
    /// what was just got changes nothing.
    pub(super) fn kept(&self, put: &Put, made: Made) -> Made {
        let Made::Document(fields) = &made else { return made };
        let default = self.default_of(put.target).filter(|_| self.is_optional(put.target));
        let is_empty = default.is_some_and(|default| default.same_as(&bare(fields)));
        match is_empty && !put.old.is_some_and(|old| bare(old).same_as(&bare(fields))) {
            true => Made::Nothing,
            false => made,
        }
    }

    /// Runs the steps.
    fn run_steps(&self, put: &Put) -> Result<Fields, PutError> {
        let Put { to, target, key, .. } = *put;
        let is_lawful = self.is_lawful;
        let at = Crossing { to, key, is_lawful };
        let (near, _) = self.step.sides(to);
        let mut state: State = vec![Fields::default(); self.slots()];
        for (&class, source) in near.iter().zip(put.sources) {
            if let Some(fields) = source.or(self.default_of(class)) {
                state[self.slot(class)] = fields.clone();
            }
        }
        let slot = self.slot(target);
        let known = put
            .old
            .map(|old| self.steps.walk_back(at, self.target(at, slot, old, &state)));
        // A part keeps what it holds beside the fields that reach it; between primaries the source's fields travel.
        if let Some(leftover) = known.as_ref().and_then(|known| known.first())
            && slot != PRIMARY
        {
            state[slot] = leftover[slot].clone();
        }
        self.steps.run(at, &mut state, known.as_deref())?;
        Ok(state.swap_remove(slot))
    }

    /// The old target in its place. Of a primary only the fields that operations touch are looked at.
    fn target(&self, at: Crossing, slot: usize, old: &Fields, sources: &State) -> State {
        let mut state: State = vec![Fields::default(); self.slots()];
        if slot != PRIMARY && !self.steps.reads().is_empty() {
            // Conditions are on the primary, of which a part knows nothing: what the sources make of it has to do.
            let mut made = sources.clone();
            if self.steps.run(at, &mut made, None).is_ok() {
                state = made;
            }
        }
        state[slot] = old.clone();
        if slot == PRIMARY {
            state[slot].retain(|name| self.steps.sees(name));
        }
        state
    }
}
