//! Lenses: the two-way steps between neighbouring class sets.
//!
//! A lens is crossed by [`Lens::put`]: new source documents and the old target document make the new target document, which
//! keeps what only the target knows. Two laws hold for every lens that maps each value it is given:
//!
//! * *GetPut*: putting back what was just got changes nothing.
//! * *PutGet*: what was put can be got again, up to values that the lens maps together.
//!
//! Where an operation makes an exception, which its reference declares, [`Lens::lawful`] makes none, and the laws hold of that.
//!
//! A lens is a script, which puts as it will, or a list of operations, written from the old side to the new and run backwards for
//! the other way. Each operation puts for itself; the old target is walked back through the operations once, so that each sees what the target knew
//! at its own place in the list.

pub mod example;
pub mod file;
mod nested;
pub mod operation;
mod put;
mod script;
pub mod sequence;
pub mod shape;
pub mod share;
mod template;

use serde_json::Value;

use crate::{
    couch::Fields,
    schema::{ClassId, ClassName, Direction, Step, Violation},
    script::Fault,
};
pub use example::Example;
pub use file::LensFile;
use script::Scripted;
use sequence::Sequence;
pub use share::{Embedded, Others, Share, Shared};

/// A compiled lens.
#[derive(Clone, Debug)]
pub struct Lens {
    step: Step,
    /// The secondary classes of both sides, each with its slot.
    parts: Vec<Part>,
    steps: Sequence,
    /// Stands for steps.
    script: Option<Scripted>,
    shares: Vec<Share>,
    examples: Vec<Example>,
    is_lawful: bool,
}

/// A class of a side that is not its primary.
#[derive(Clone, Debug)]
struct Part {
    class: ClassId,
    /// What a deleted part counts as, and a missing one that is not waited for.
    default: Fields,
    /// Nothing is carried until this part exists.
    is_awaited: bool,
    /// There is no document where it would hold no more than the default.
    is_optional: bool,
}

/// A document to be made: what a lens is crossed with.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// The side that the document is on.
    pub to: Direction,
    /// Its class.
    pub target: ClassId,
    /// The key that all documents at hand share.
    pub key: &'a str,
    /// The documents on the other side, in the order of the step. A missing part is its default.
    pub sources: &'a [Option<&'a Fields>],
    /// What the document was, of which it keeps what only it knows.
    pub old: Option<&'a Fields>,
}

/// What crossing a lens makes.
#[derive(Clone, Debug)]
pub enum Made {
    /// The document's fields; `schema`, `version` and ids are the caller's.
    Document(Fields),
    /// The sources tell that there is no such document.
    Nothing,
    /// The sources do not suffice yet.
    NotReady,
}

impl Made {
    /// The document, if one was made.
    pub fn document(self) -> Option<Fields> {
        match self {
            Made::Document(fields) => Some(fields),
            Made::Nothing | Made::NotReady => None,
        }
    }

    /// Whether the same was made.
    fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Made::Document(fields), Made::Document(others)) => fields.same_as(others),
            (Made::Nothing, Made::Nothing) | (Made::NotReady, Made::NotReady) => true,
            _ => false,
        }
    }
}

/// What was put is not in the lens, or not in the target's schema: nothing can be carried until the document or one of these
/// changes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// A `convert` cannot convert the value, and has no `otherwise`.
    #[error("`{field}` is {value}, for which the lens has no value on the {to} side")]
    NoValue {
        /// The field, after those that it is nested in: `address/city`.
        field: String,
        /// Its value, as JSON.
        value: String,
        /// `old` or `new`.
        to: &'static str,
    },
    /// What the lens makes does not fit the schema of its class.
    #[error(transparent)]
    Invalid(#[from] Violation),
    /// The script has failed.
    #[error(transparent)]
    Script(#[from] Fault),
}

impl PutError {
    /// The same, of a value that stands in this field.
    fn within(self, name: &str) -> Self {
        match self {
            PutError::NoValue { field, value, to } => PutError::NoValue {
                field: format!("{name}/{field}"),
                value,
                to,
            },
            other @ (PutError::Invalid(_) | PutError::Script(_)) => other,
        }
    }

    /// What of the lens or the document is at fault, for logs: they never hold values.
    pub fn place(&self) -> String {
        match self {
            PutError::NoValue { field, .. } => field.clone(),
            PutError::Invalid(violation) => violation.place().to_string(),
            PutError::Script(fault) => fault.place().to_owned(),
        }
    }
}

/// The primary documents of both sides share a slot: what no operation touches travels between them.
const PRIMARY: usize = 0;

impl Lens {
    /// The classes on both sides.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// Whether a script puts.
    pub fn is_script(&self) -> bool {
        self.script.is_some()
    }

    /// The texts of the modules of which the script is made, what is imported before what imports it; none of steps.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.script.iter().flat_map(Scripted::modules)
    }

    /// The same lens, but that no operation makes an exception from the laws: a law that this one breaks is broken where nothing is
    /// declared. It is for trying laws; nothing is carried by it.
    pub fn lawful(&self) -> Self {
        Self {
            is_lawful: true,
            ..self.clone()
        }
    }

    /// Documents on both sides that belong together.
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// What stands in for a part that is deleted; none for a primary.
    pub fn default_of(&self, class: ClassId) -> Option<&Fields> {
        self.part(class).map(|part| &part.default)
    }

    /// Whether nothing can be carried before a document of this class exists.
    pub fn awaits(&self, class: ClassId) -> bool {
        self.part(class).is_none_or(|part| part.is_awaited)
    }

    /// Whether there is no document of this class where it would hold no more than its default.
    pub fn is_optional(&self, class: ClassId) -> bool {
        self.part(class).is_some_and(|part| part.is_optional)
    }

    /// The fields that embed on the old side, and refer on the new.
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    fn part(&self, class: ClassId) -> Option<&Part> {
        self.parts.iter().find(|part| part.class == class)
    }

    /// Where a class's fields stand while operations run.
    fn slot(&self, class: ClassId) -> usize {
        self.parts
            .iter()
            .position(|part| part.class == class)
            .map_or(PRIMARY, |n| n + 1)
    }

    fn slots(&self) -> usize {
        self.parts.len() + 1
    }
}

/// A value's JSON text.
fn raw(value: &Value) -> Box<serde_json::value::RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_default()
}

/// A class named in a lens file, to its place.
pub type Lookup<'a> = dyn Fn(&ClassName) -> Option<ClassId> + 'a;

#[cfg(test)]
mod tests;
