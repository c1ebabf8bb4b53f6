//! Crossing a lens.

use super::{Lens, Made, PRIMARY, Put, PutError, operation::Crossing, sequence::State};
use crate::{couch::Fields, schema::ClassId};

impl Lens {
    /// Makes one document of those on the other side.
    pub fn put(&self, put: &Put) -> Result<Made, PutError> {
        if let Some(script) = &self.script {
            return script.put(self, put);
        }
        let Put { to, target, key, .. } = *put;
        let at = Crossing { to, key };
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
        let made = state.swap_remove(slot);
        // One that says the same already stays, empty or not: what was just got changes nothing.
        let is_kept = || put.old.is_some_and(|old| made.same_as(old));
        if self.is_optional(target) && self.is_empty(target, &made) && !is_kept() {
            return Ok(Made::Nothing);
        }
        Ok(Made::Document(made))
    }

    /// A part holds no more than its default.
    fn is_empty(&self, part: ClassId, fields: &Fields) -> bool {
        let mut own = fields.clone();
        for of_engine in ["schema", "version"] {
            own.take(of_engine);
        }
        self.default_of(part).is_some_and(|default| default.same_as(&own))
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
