//! The form of a lens file, and its compilation.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Example, Lens, Lookup, PRIMARY, Part, fields_of,
    operation::{Operation, Table},
    script::Scripted,
};
use crate::{
    schema::{ClassId, ClassName, Direction, Flaw, Step},
    script::Script,
};

/// One lens, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LensFile {
    /// The older classes, the primary first.
    pub old: Side,
    /// The newer classes, the primary first.
    pub new: Side,
    /// What is to be known of each class that is not its side's first.
    #[serde(default)]
    pub parts: BTreeMap<ClassName, PartFile>,
    /// From the old side to the new.
    #[serde(default)]
    pub steps: Vec<OperationFile>,
    /// A JavaScript module that stands for steps; its path, from the file's own folder.
    pub script: Option<String>,
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
    #[serde(default)]
    pub missing: Missing,
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

/// One operation, as it is written. `in` names the document, by class; without it the primary is meant.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum OperationFile {
    /// `from` on the old side is `to` on the new.
    Rename {
        /// The document.
        #[serde(rename = "in")]
        within: Option<ClassName>,
        /// The old name.
        from: String,
        /// The new name.
        to: String,
    },
    /// The new side has a field that the old has not.
    Add(OnlyFile),
    /// The old side has a field that the new has not.
    Remove(OnlyFile),
    /// A field's values differ.
    Convert {
        /// The document.
        #[serde(rename = "in")]
        within: Option<ClassName>,
        /// The field.
        field: String,
        /// Pairs of old and new value.
        values: Vec<[Value; 2]>,
        /// The values for all that is in no pair.
        #[serde(default)]
        otherwise: Otherwise,
    },
    /// A field stands in another document on the new side.
    Move {
        /// Its name on both sides.
        field: String,
        /// Its document on the old side.
        from: Option<ClassName>,
        /// Its document on the new side.
        to: Option<ClassName>,
    },
}

/// A field that one side alone has.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnlyFile {
    /// The document.
    #[serde(rename = "in")]
    pub within: Option<ClassName>,
    /// The field.
    pub field: String,
    /// What it is where the target has none yet.
    pub value: Value,
}

/// What stands for values in no row, on each side.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otherwise {
    /// On the old side.
    pub old: Option<Value>,
    /// On the new side.
    pub new: Option<Value>,
}

/// One example: documents on both sides that belong together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleFile {
    /// What it shows.
    pub name: String,
    /// Documents on the old side.
    pub old: BTreeMap<ClassName, Map<String, Value>>,
    /// Documents on the new side.
    pub new: BTreeMap<ClassName, Map<String, Value>>,
    /// What the target documents were before.
    #[serde(default)]
    pub had: BTreeMap<ClassName, Map<String, Value>>,
    /// Run one way only; without it both ways.
    pub way: Option<Way>,
}

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
    /// Compiles a lens of steps, or tells every flaw in it.
    pub fn compile(&self, lookup: &Lookup) -> Result<Lens, Vec<Flaw>> {
        self.compile_with(lookup, None)
    }

    /// Compiles the lens, or tells every flaw in it. `script` is what the file names.
    pub fn compile_with(&self, lookup: &Lookup, script: Option<Script>) -> Result<Lens, Vec<Flaw>> {
        let mut compiler = Compiler {
            file: self,
            lookup,
            script,
            flaws: Vec::new(),
        };
        let lens = compiler.lens();
        match lens {
            Some(lens) if compiler.flaws.is_empty() => Ok(lens),
            _ => Err(compiler.flaws),
        }
    }
}

struct Compiler<'a> {
    file: &'a LensFile,
    lookup: &'a Lookup<'a>,
    script: Option<Script>,
    flaws: Vec<Flaw>,
}

impl Compiler<'_> {
    fn lens(&mut self) -> Option<Lens> {
        let (old, new) = (self.side("/old", &self.file.old), self.side("/new", &self.file.new));
        let parts = self.parts();
        let operations = self
            .file
            .steps
            .iter()
            .enumerate()
            .filter_map(|(n, step)| self.operation(n, step))
            .collect();
        let examples = self
            .file
            .examples
            .iter()
            .enumerate()
            .filter_map(|(n, example)| self.example(n, example))
            .collect();
        let (old, new) = (old?, new?);
        let script = self.script(&old, &new);
        Some(Lens {
            step: Step { old, new },
            parts,
            operations,
            script,
            examples,
        })
    }

    fn script(&mut self, old: &[ClassId], new: &[ClassId]) -> Option<Scripted> {
        let file = self.file;
        if file.script.is_some() && !file.steps.is_empty() {
            self.flaw("/steps", "there is a script, too", "write steps or a script, not both");
        }
        if file.script.is_some() && self.script.is_none() {
            self.flaw("/script", "the script was not read", "check it with its folder");
        }
        let names = file.old.names().iter().chain(file.new.names()).cloned();
        let classes = old.iter().chain(new).copied();
        self.script
            .take()
            .map(|script| Scripted::new(script, classes.zip(names)))
    }

    fn flaw(&mut self, at: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) {
        self.flaws.push(Flaw::new(at, what, mend));
    }

    fn class(&mut self, at: &str, name: &ClassName) -> Option<ClassId> {
        let class = (self.lookup)(name);
        if class.is_none() {
            self.flaw(
                at,
                format!("there is no class {name}"),
                format!("add a schema named {name} to `classes/`, or mend the name"),
            );
        }
        class
    }

    fn side(&mut self, at: &str, side: &Side) -> Option<Vec<ClassId>> {
        if side.names().is_empty() {
            self.flaw(
                at,
                "this side names no class",
                "name at least one class, the primary first",
            );
            return None;
        }
        let mut classes = Vec::new();
        for name in side.names() {
            let class = self.class(at, name)?;
            if classes.contains(&class) {
                self.flaw(at, format!("{name} is named twice"), "name each class once");
            }
            classes.push(class);
        }
        Some(classes)
    }

    /// The names of the classes that are not their side's first, in the order of their slots.
    fn secondaries(&self) -> Vec<&ClassName> {
        [&self.file.old, &self.file.new]
            .into_iter()
            .flat_map(|side| side.names().iter().skip(1))
            .collect()
    }

    fn parts(&mut self) -> Vec<Part> {
        let file = self.file;
        let secondaries: Vec<ClassName> = self.secondaries().into_iter().cloned().collect();
        for name in file.parts.keys().filter(|name| !secondaries.contains(name)) {
            self.flaw(
                format!("/parts/{name}"),
                format!("{name} is no part: it is no class of this lens, or the first of its side"),
                "describe the classes that stand behind the first of a side",
            );
        }
        let mut parts = Vec::new();
        for name in &secondaries {
            let Some(part) = file.parts.get(name) else {
                self.flaw(
                    "/parts",
                    format!("nothing is said of {name}"),
                    format!("add `{name}: {{ default: {{…}} }}`: what a deleted one counts as"),
                );
                continue;
            };
            if let Some(class) = (self.lookup)(name) {
                let default = fields_of(&part.default);
                parts.push(Part {
                    class,
                    default,
                    is_awaited: part.missing == Missing::Wait,
                });
            }
        }
        parts
    }

    fn slot(&mut self, at: &str, name: Option<&ClassName>) -> Option<usize> {
        let Some(name) = name else { return Some(PRIMARY) };
        let primaries = [&self.file.old, &self.file.new].map(|side| side.names().first());
        if primaries.contains(&Some(name)) {
            return Some(PRIMARY);
        }
        let slot = self.secondaries().iter().position(|part| *part == name).map(|n| n + 1);
        if slot.is_none() {
            self.flaw(
                at,
                format!("{name} is no class of this lens"),
                "name a class of its `old` or `new` side",
            );
        }
        slot
    }

    fn field(&mut self, at: &str, field: &str) {
        if field.is_empty() || field.starts_with('_') || ["schema", "version"].contains(&field) {
            self.flaw(
                at,
                format!("`{field}` is no field for a lens"),
                "name a field of the document; `_id`, `schema` and `version` are set for you",
            );
        }
    }

    fn operation(&mut self, n: usize, step: &OperationFile) -> Option<Operation> {
        let at = |what: &str| format!("/steps/{n}/{what}");
        match step {
            OperationFile::Rename { within, from, to } => {
                self.field(&at("rename/from"), from);
                self.field(&at("rename/to"), to);
                let slot = self.slot(&at("rename/in"), within.as_ref())?;
                Some(Operation::Rename {
                    slot,
                    old: from.clone(),
                    new: to.clone(),
                })
            }
            OperationFile::Add(only) => self.only(&at("add"), Direction::Up, only),
            OperationFile::Remove(only) => self.only(&at("remove"), Direction::Down, only),
            OperationFile::Convert {
                within,
                field,
                values,
                otherwise,
            } => {
                self.field(&at("convert/field"), field);
                if values.is_empty() {
                    self.flaw(
                        at("convert/values"),
                        "the table is empty",
                        "give pairs: `[[old, new], …]`",
                    );
                }
                let slot = self.slot(&at("convert/in"), within.as_ref())?;
                let table = Table::new(values, [otherwise.old.as_ref(), otherwise.new.as_ref()]);
                Some(Operation::Convert {
                    slot,
                    field: field.clone(),
                    table,
                })
            }
            OperationFile::Move { field, from, to } => {
                self.field(&at("move/field"), field);
                let old = self.slot(&at("move/from"), from.as_ref())?;
                let new = self.slot(&at("move/to"), to.as_ref())?;
                if old == new {
                    self.flaw(
                        at("move"),
                        "the field stays where it is",
                        "name another document in `from` or `to`",
                    );
                }
                Some(Operation::Move {
                    field: field.clone(),
                    old,
                    new,
                })
            }
        }
    }

    fn only(&mut self, at: &str, arrives: Direction, only: &OnlyFile) -> Option<Operation> {
        self.field(&format!("{at}/field"), &only.field);
        let slot = self.slot(&format!("{at}/in"), only.within.as_ref())?;
        Some(Operation::Only {
            arrives,
            slot,
            field: only.field.clone(),
            value: super::raw(&only.value),
        })
    }

    fn example(&mut self, n: usize, example: &ExampleFile) -> Option<Example> {
        let mut documents = |what: &str, documents: &BTreeMap<ClassName, Map<String, Value>>| {
            let at = format!("/examples/{n}/{what}");
            let documents = documents.iter();
            documents
                .map(|(name, fields)| {
                    self.slot(&at, Some(name))?;
                    Some((self.class(&at, name)?, fields_of(fields)))
                })
                .collect::<Option<Vec<_>>>()
        };
        Some(Example {
            name: example.name.clone(),
            old: documents("old", &example.old)?,
            new: documents("new", &example.new)?,
            had: documents("had", &example.had)?,
            way: example.way.map(|way| match way {
                Way::Up => Direction::Up,
                Way::Down => Direction::Down,
            }),
        })
    }
}
