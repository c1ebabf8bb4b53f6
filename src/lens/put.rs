//! Crossing a lens.

use super::{Lens, Made, Others, PRIMARY, Put, PutError, operation::Crossing, sequence::State, share::Embedded};
use crate::{
    couch::Fields,
    schema::{Direction, bare},
};

/// Runs the steps, and nothing else.
pub(super) type Cross<'a> = dyn Fn(&Put) -> Result<Made, PutError> + 'a;

impl Lens {
    /// Makes one document of those on the other side, where no document is shared.
    pub fn put(&self, put: &Put) -> Result<Made, PutError> {
        self.put_among(put, &Others::NONE)
    }

    /// Makes one document of those on the other side. Shared documents have their place at the new end of the steps.
    pub fn put_among(&self, put: &Put, others: &Others) -> Result<Made, PutError> {
        self.put_by(put, others, &|put| self.cross(put))
    }

    /// The same, the steps being run by `cross`.
    pub(super) fn put_by(&self, put: &Put, others: &Others, cross: &Cross) -> Result<Made, PutError> {
        if self.shares.is_empty() {
            return cross(put);
        }
        match put.to {
            Direction::Up => {
                let made = self.embedding(put, cross)?;
                let Made::Document(mut fields) = made else {
                    return Ok(made);
                };
                // What cannot be taken across is not known.
                let before = others.before.and_then(|before| {
                    let sources = [Some(before)];
                    let put = Put {
                        sources: &sources,
                        ..*put
                    };
                    self.embedding(&put, cross).ok()?.document()
                });
                for share in &self.shares {
                    share.refer(&mut fields, put.old, before.as_ref(), others)?;
                }
                Ok(Made::Document(fields))
            }
            Direction::Down => {
                let mut source = put.sources.first().copied().flatten().cloned();
                for share in &self.shares {
                    if let Some(fields) = &mut source
                        && share.embed(fields, others).is_err()
                    {
                        return Ok(Made::NotReady);
                    }
                }
                cross(&Put {
                    sources: &[source.as_ref()],
                    ..*put
                })
            }
        }
    }

    /// What a document of the old side embeds.
    pub fn embedded(&self, fields: &Fields) -> Result<Vec<Embedded>, PutError> {
        let Some(&target) = self.step.new.first() else {
            return Ok(Vec::new());
        };
        let put = Put {
            to: Direction::Up,
            target,
            key: "",
            sources: &[Some(fields)],
            old: None,
        };
        let made = self
            .embedding(&put, &|put| self.cross(put))?
            .document()
            .unwrap_or_default();
        let embedded = self.shares.iter().map(|share| share.embedded(&made));
        embedded.filter_map(Result::transpose).collect()
    }

    /// A document of the new side before what it embeds is replaced.
    fn embedding(&self, put: &Put, cross: &Cross) -> Result<Made, PutError> {
        let mut old = put.old.cloned();
        for share in &self.shares {
            old.iter_mut().for_each(|old| drop(old.take(share.reference())));
        }
        cross(&Put {
            old: old.as_ref(),
            ..*put
        })
    }

    fn cross(&self, put: &Put) -> Result<Made, PutError> {
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
