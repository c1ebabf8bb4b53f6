//! The form of a lens file.

mod compile;
mod scope;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::operation::OperationFile;
use crate::schema::{ClassName, DocumentName};
pub use scope::Scope;

/// One lens, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LensFile {
    /// The older classes, the primary first.
    pub old: Side,
    /// The newer classes, the primary first. None if the old ones end here.
    pub new: Side,
    /// What is to be known of each class that is not its side's first.
    #[serde(default)]
    pub parts: BTreeMap<ClassName, PartFile>,
    /// From the old side to the new.
    #[serde(default)]
    pub steps: Vec<OperationFile>,
    /// A JavaScript module that stands for steps; its path, from the file's own folder.
    pub script: Option<String>,
    /// Objects that the old side embeds, and the new refers to.
    #[serde(default)]
    pub share: Vec<ShareFile>,
    /// Run by `chesterfield check`.
    #[serde(default)]
    pub examples: Vec<ExampleFile>,
}

/// One class, or a list of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Side {
    /// `todo-item@1`
    One(ClassName),
    /// `[todo-item@2, todo-item-status@1]`
    Many(Vec<ClassName>),
}

/// A class that is not its side's first.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartFile {
    /// The fields that stand in for the part when it is deleted.
    pub default: Map<String, Value>,
    /// What to do while the part does not exist.
    pub missing: Option<Missing>,
    /// What to do where the part would hold no more than its default.
    #[serde(default)]
    pub empty: Empty,
}

/// What to do while a part does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// It is still on its way: carry nothing until it arrives.
    #[default]
    Wait,
    /// Its default stands in for it.
    Default,
}

/// What to do where a part would hold no more than its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Empty {
    /// There is a document all the same.
    #[default]
    Keep,
    /// There is none, and one that is there is deleted.
    Delete,
}

/// An object that the old side embeds, and the new refers to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareFile {
    /// The field that embeds, as the steps leave it.
    pub field: String,
    /// The field of the new side that refers.
    #[serde(rename = "as")]
    pub reference: String,
    /// The class of the shared documents.
    pub class: ClassName,
    /// The fields of the shared document that its key is made of.
    #[serde(default)]
    pub key: Vec<String>,
    /// What is embedded is the value of this field of the shared document.
    pub value: Option<String>,
    /// What is embedded where there is no shared document.
    pub default: Option<Value>,
}

/// One example: documents on both sides that belong together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleFile {
    /// What it shows.
    pub name: String,
    /// Documents on the old side.
    pub old: Documents,
    /// Documents on the new side.
    pub new: Documents,
    /// What the target documents were before.
    #[serde(default)]
    pub had: Documents,
    /// Documents that the new side refers to.
    #[serde(default)]
    pub shared: BTreeMap<DocumentName, Map<String, Value>>,
    /// Run one way only; without it both ways.
    pub way: Option<Way>,
}

/// Documents by class; null where there is none. Examples and stories are made of them.
pub type Documents = BTreeMap<ClassName, Option<Map<String, Value>>>;

/// A direction, as it is written.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// From old to new.
    Up,
    /// From new to old.
    Down,
}

impl Side {
    fn names(&self) -> &[ClassName] {
        match self {
            Side::One(name) => std::slice::from_ref(name),
            Side::Many(names) => names,
        }
    }
}

impl LensFile {
    /// Nothing follows the old side.
    fn is_end(&self) -> bool {
        self.new.names().is_empty()
    }

    /// The names of the classes that are not their side's first, in the order of their slots.
    fn secondaries(&self) -> Vec<&ClassName> {
        [&self.old, &self.new]
            .into_iter()
            .flat_map(|side| side.names().iter().skip(1))
            .collect()
    }
}
