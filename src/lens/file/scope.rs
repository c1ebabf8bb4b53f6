//! Where in a lens file an operation stands: what it may name there, and where its flaws are told.

use std::sync::Arc;

use super::LensFile;
use crate::{
    lens::{
        PRIMARY, nested,
        operation::{Edit, Operation, OperationFile},
        sequence::Sequence,
    },
    schema::{CLASS_FIELDS, ClassName, Flaw},
};

/// A place in a lens file.
pub struct Scope<'a> {
    /// The lens; none for steps on a nested value, which know of no documents.
    documents: Option<&'a LensFile>,
    at: String,
    flaws: &'a mut Vec<Flaw>,
}

impl<'a> Scope<'a> {
    /// The whole file.
    pub fn new(file: &'a LensFile, flaws: &'a mut Vec<Flaw>) -> Self {
        Self {
            documents: Some(file),
            at: String::new(),
            flaws,
        }
    }

    /// A place within this one.
    pub fn at(&mut self, place: &str) -> Scope<'_> {
        Scope {
            documents: self.documents,
            at: self.place(place),
            flaws: self.flaws,
        }
    }

    /// The same place, for what concerns a nested value.
    pub fn nested(&mut self) -> Scope<'_> {
        Scope {
            documents: None,
            at: self.at.clone(),
            flaws: self.flaws,
        }
    }

    fn place(&self, place: &str) -> String {
        match place {
            "" => self.at.clone(),
            place => format!("{}/{}", self.at, place.trim_start_matches('/')),
        }
    }

    /// Tells a flaw at a place within this one.
    pub fn flaw(&mut self, place: &str, what: impl Into<String>, mend: impl Into<String>) {
        let flaw = Flaw::new(self.place(place), what, mend);
        self.flaws.push(flaw);
    }

    /// Tells whether a name is none for a field.
    pub fn field(&mut self, place: &str, field: &str) {
        if field.is_empty() || self.is_set(field) {
            self.flaw(
                place,
                format!("`{field}` is no field for a lens"),
                "name a field of the document; `_id`, `schema` and `version` are set for you",
            );
        }
        if self.documents.is_some() && field == nested::ITSELF {
            self.flaw(
                place,
                "a document is an object, not a single value",
                "use `.` in the steps of `within` and `map`",
            );
        }
    }

    /// Whether the engine sets what has this name, so that no lens sees it.
    pub fn is_set(&self, name: &str) -> bool {
        self.documents.is_some() && (name.starts_with('_') || CLASS_FIELDS.contains(&name))
    }

    /// The place of a document among the fields that operations work on.
    pub fn slot(&mut self, place: &str, name: Option<&ClassName>) -> Option<usize> {
        let Some(name) = name else { return Some(PRIMARY) };
        let Some(file) = self.documents else {
            self.flaw(
                place,
                "a nested value belongs to one document",
                "take this out, and name the document at the outermost step",
            );
            return None;
        };
        let primaries = [&file.old, &file.new].map(|side| side.names().first());
        if primaries.contains(&Some(name)) {
            return Some(PRIMARY);
        }
        let slot = file.secondaries().iter().position(|part| *part == name).map(|n| n + 1);
        if slot.is_none() {
            self.flaw(
                place,
                format!("{name} is no class of this lens"),
                "name a class of its `old` or `new` side",
            );
        }
        slot
    }

    /// An operation in one document: the one that its `in` names.
    pub fn edit(&mut self, within: Option<&ClassName>, edit: impl Edit + 'static) -> Option<Operation> {
        let slot = self.slot("in", within)?;
        Some(Operation::Edit {
            slot,
            edit: Arc::new(edit),
        })
    }

    /// A list of operations.
    pub fn steps(&mut self, place: &str, steps: &[OperationFile]) -> Sequence {
        let operations = steps.iter().enumerate();
        let operations = operations.filter_map(|(n, step)| step.compile(&mut self.at(&format!("{place}/{n}"))));
        Sequence::new(operations.collect())
    }

    /// A list of operations on a nested value.
    pub fn nested_steps(&mut self, place: &str, steps: &[OperationFile]) -> Sequence {
        let mut nested = self.nested();
        let steps = nested.steps(place, steps);
        for field in steps.homeless() {
            nested.flaw(
                place,
                format!("`{field}` is lost where a value is no object: it would stand beside `.`"),
                "`rename` `.` to a field of its own first: that makes an object of the value",
            );
        }
        steps
    }
}
