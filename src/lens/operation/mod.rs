//! The operations of a lens, one file each: its form in lens files, and how it puts. Each runs both ways, and is shown what the
//! target knew at its own place in the list.
//!
//! What an operation cannot work on (a container that is no object, say) it leaves as it is, both ways. A field that
//! by the lens one side alone has is that side's own: it is kept there, and never travels.

mod constant;
mod convert;
mod copy;
mod map;
mod nest;
mod only;
mod relocate;
mod rename;
mod split;
mod when;
mod within;
mod wrap;

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{
    PutError,
    file::Scope,
    sequence::State,
    shape::{Loss, Shape},
};
use crate::{
    couch::{Fields, document::same_value},
    schema::Direction,
};

/// Where a crossing leads to, and whose documents it makes.
#[derive(Clone, Copy, Debug)]
pub struct Crossing<'a> {
    /// The side that is made.
    pub to: Direction,
    /// The key that all documents at hand share.
    pub key: &'a str,
    /// Operations make no exceptions from the laws: [`Lens::lawful`](super::Lens::lawful).
    pub is_lawful: bool,
}

/// An operation within one document, or within one nested value. It puts by the laws of lenses. One that makes an exception from
/// them asks [`Crossing::is_lawful`] right where it does, and has something lawful to do instead: so that a law which is broken
/// anywhere else comes to light, on the same documents too.
pub trait Edit: fmt::Debug + Send + Sync {
    /// Takes the fields `here` across. `known` is what the target knew in their place; none where there is no target yet.
    fn put(&self, at: Crossing, here: &mut Fields, known: Option<&Fields>) -> Result<(), PutError>;

    /// Takes the shape `here` across, and tells what does not arrive.
    fn outline(&self, to: Direction, here: &mut Shape, losses: &mut Vec<Loss>);

    /// The names of the fields that it changes, on either side.
    fn touches(&self) -> Vec<&str>;

    /// The names of the fields that it only looks at.
    fn reads(&self) -> Vec<&str> {
        Vec::new()
    }
}

/// One compiled operation; a slot is an index into [`State`].
#[derive(Clone, Debug)]
pub enum Operation {
    /// Within one document.
    Edit {
        /// Which document.
        slot: usize,
        /// What happens to it.
        edit: Arc<dyn Edit>,
    },
    /// From one document to another.
    Move(relocate::Move),
    /// Other operations, where a field has a value.
    When(when::When),
}

/// One operation, as it is written. `in` names the document, by class; without it the primary is meant.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum OperationFile {
    /// A field has another name.
    Rename(rename::RenameFile),
    /// The new side has a field that the old has not.
    Add(only::OnlyFile),
    /// The old side has a field that the new has not.
    Remove(only::OnlyFile),
    /// A field's values differ.
    Convert(convert::ConvertFile),
    /// A field stands in another document.
    Move(relocate::MoveFile),
    /// A field always has the same value.
    Constant(constant::ConstantFile),
    /// A field leaves an object.
    Hoist(nest::HoistFile),
    /// A field enters an object.
    Plunge(nest::PlungeFile),
    /// A value becomes the first element of an array.
    Wrap(wrap::WrapFile),
    /// An array becomes its first element.
    Head(wrap::WrapFile),
    /// Steps on a nested value.
    Within(within::WithinFile),
    /// Steps on every element of an array.
    Map(map::MapFile),
    /// The new side has a field twice.
    Copy(copy::CopyFile),
    /// A string becomes several.
    Split(split::SplitFile),
    /// Several strings become one.
    Join(split::JoinFile),
    /// Steps for some documents only.
    When(when::WhenFile),
}

impl OperationFile {
    /// Compiles the operation, or tells its flaws.
    pub fn compile(&self, scope: &mut Scope) -> Option<Operation> {
        use Direction::{Down, Up};
        match self {
            Self::Rename(file) => file.compile(&mut scope.at("rename")),
            Self::Add(file) => file.compile(Up, &mut scope.at("add")),
            Self::Remove(file) => file.compile(Down, &mut scope.at("remove")),
            Self::Convert(file) => file.compile(&mut scope.at("convert")),
            Self::Move(file) => file.compile(&mut scope.at("move")),
            Self::Constant(file) => file.compile(&mut scope.at("constant")),
            Self::Hoist(file) => file.compile(&mut scope.at("hoist")),
            Self::Plunge(file) => file.compile(&mut scope.at("plunge")),
            Self::Wrap(file) => file.compile(Up, &mut scope.at("wrap")),
            Self::Head(file) => file.compile(Down, &mut scope.at("head")),
            Self::Within(file) => file.compile(&mut scope.at("within")),
            Self::Map(file) => file.compile(&mut scope.at("map")),
            Self::Copy(file) => file.compile(&mut scope.at("copy")),
            Self::Split(file) => file.compile(&mut scope.at("split")),
            Self::Join(file) => file.compile(&mut scope.at("join")),
            Self::When(file) => file.compile(&mut scope.at("when")),
        }
    }
}

impl Operation {
    /// Takes `state` across. `known` is what the target knew, in the place that this operation leads to.
    pub fn put(&self, at: Crossing, state: &mut State, known: Option<&State>) -> Result<(), PutError> {
        match self {
            Operation::Edit { slot, edit } => edit.put(at, &mut state[*slot], known.map(|known| &known[*slot])),
            Operation::Move(operation) => {
                operation.put(at.to, state, known);
                Ok(())
            }
            Operation::When(operation) => operation.put(at, state, known),
        }
    }

    /// Takes shapes across, one for each document.
    pub fn outline(&self, to: Direction, state: &mut [Shape], losses: &mut Vec<Loss>) {
        match self {
            Operation::Edit { slot, edit } => edit.outline(to, &mut state[*slot], losses),
            Operation::Move(operation) => operation.outline(to, state, losses),
            Operation::When(operation) => operation.outline(to, state, losses),
        }
    }

    /// The names of the fields that it changes, in whatever document.
    pub fn touches(&self) -> Vec<&str> {
        match self {
            Operation::Edit { edit, .. } => edit.touches(),
            Operation::Move(operation) => vec![&operation.field],
            Operation::When(operation) => operation.touches(),
        }
    }

    /// The names of the fields that it only looks at.
    pub fn reads(&self) -> Vec<&str> {
        match self {
            Operation::Edit { edit, .. } => edit.reads(),
            Operation::Move(_) => Vec::new(),
            Operation::When(operation) => operation.reads(),
        }
    }
}

impl Crossing<'_> {
    /// The way back.
    pub fn reverse(self) -> Self {
        Self {
            to: self.to.reverse(),
            ..self
        }
    }
}

/// The index of a direction's target in pairs of old and new.
const fn side(to: Direction) -> usize {
    match to {
        Direction::Up => 1,
        Direction::Down => 0,
    }
}

/// Sets a field, or takes it away.
fn set(here: &mut Fields, name: &str, value: Option<Box<RawValue>>) {
    match value {
        Some(value) => here.set(name, value),
        None => drop(here.take(name)),
    }
}

/// Makes a field what the target knew.
fn keep(here: &mut Fields, known: Option<&Fields>, name: &str) {
    set(
        here,
        name,
        known.and_then(|known| known.get(name)).map(ToOwned::to_owned),
    );
}

/// Equal as JSON, or both not there.
fn same(a: Option<&RawValue>, b: Option<&RawValue>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same_value(a, b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// For members that may be `null`: there is one.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<serde_json::Value>, D::Error> {
    serde_json::Value::deserialize(from).map(Some)
}
