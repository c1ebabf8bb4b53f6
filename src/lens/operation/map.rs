//! `map`: steps on every element of an array. Elements of source and target belong together by an identifying field, else
//! by their place, so that what only the target knows of one survives insertion, removal and reordering.

use std::collections::{HashMap, VecDeque};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{Crossing, Edit, Operation, OperationFile, side};
use crate::{
    couch::Fields,
    lens::{
        PutError,
        file::Scope,
        nested,
        sequence::{Known, Sequence},
        shape::{Loss, Shape},
    },
    schema::{ClassName, Direction},
};

/// As it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapFile {
    #[serde(rename = "in")]
    within: Option<ClassName>,
    field: String,
    by: Option<By>,
    steps: Vec<OperationFile>,
}

/// The identifying field of elements.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum By {
    /// On both sides.
    Same(String),
    /// On each side.
    Each(Names),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    old: String,
    new: String,
}

#[derive(Debug)]
struct Map {
    field: String,
    /// The identifying field of elements, on the old side and on the new.
    by: Option<[String; 2]>,
    steps: Sequence,
}

impl MapFile {
    pub(super) fn compile(&self, scope: &mut Scope) -> Option<Operation> {
        scope.field("field", &self.field);
        let by = self.by.clone().map(|by| match by {
            By::Same(name) => [name.clone(), name],
            By::Each(names) => [names.old, names.new],
        });
        let mut nested = scope.nested();
        by.iter().flatten().for_each(|name| nested.field("by", name));
        let steps = scope.nested_steps("steps", &self.steps);
        let edit = Map {
            field: self.field.clone(),
            by,
            steps,
        };
        scope.edit(self.within.as_ref(), edit)
    }
}

/// What tells an element from others. Numbers and strings of different text may be equal.
fn identity(element: &RawValue, by: &str) -> Option<String> {
    let value: Value = serde_json::from_str(nested::fields(element).get(by)?.get()).ok()?;
    Some(value.to_string())
}

impl Map {
    /// For every source element the place of the target's that belongs to it. Where several share an identity, or have none,
    /// they belong together in their order.
    fn partners(&self, at: Crossing, sources: &[Box<RawValue>], known: &[Known]) -> Vec<Option<usize>> {
        let Some(by) = &self.by else {
            return (0..sources.len()).map(|n| (n < known.len()).then_some(n)).collect();
        };
        let by = &by[side(at.to.reverse())];
        let mut places: HashMap<Option<String>, VecDeque<usize>> = HashMap::new();
        for (n, known) in known.iter().enumerate() {
            places.entry(identity(known.image(), by)).or_default().push_back(n);
        }
        sources
            .iter()
            .map(|source| places.get_mut(&identity(source, by))?.pop_front())
            .collect()
    }
}

impl Edit for Map {
    fn put(&self, at: Crossing, here: &mut Fields, known: Option<&Fields>) -> Result<(), PutError> {
        let Some(sources) = here.get(&self.field).and_then(nested::array) else {
            return Ok(());
        };
        let target = known.and_then(|known| known.get(&self.field)).and_then(nested::array);
        let target = target.unwrap_or_default();
        let known: Vec<Known> = target.iter().map(|value| self.steps.know(at, value)).collect();
        let mut made = Vec::with_capacity(sources.len());
        for (n, (source, partner)) in sources.iter().zip(self.partners(at, &sources, &known)).enumerate() {
            let element = self.steps.put_value(at, source, partner.map(|n| &known[n]));
            made.push(element.map_err(|error| error.within(&n.to_string()).within(&self.field))?);
        }
        here.set(&self.field, nested::array_of(&made));
        Ok(())
    }

    fn outline(&self, to: Direction, here: &mut Shape, losses: &mut Vec<Loss>) {
        if let Some(element) = here.fields.get_mut(&self.field).and_then(|array| array.items.as_mut()) {
            **element = self
                .steps
                .outline_value(to, &self.field, std::mem::take(element), losses);
        }
    }

    fn touches(&self) -> Vec<&str> {
        vec![&self.field]
    }
}
