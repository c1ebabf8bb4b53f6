//! From a lens file to a lens, or to every flaw in it.

use super::{Documents, Empty, ExampleFile, LensFile, Missing, Scope, Side, Way};
use crate::{
    couch::Fields,
    lens::{Example, Lens, Lookup, Part, script::Scripted},
    schema::{ClassId, ClassName, Direction, Flaw, Step},
    script::Script,
};

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
        let (old, new) = (self.side("/old", &self.file.old), self.new_side());
        let parts = self.parts();
        let steps = Scope::new(self.file, &mut self.flaws).steps("steps", &self.file.steps);
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
            steps,
            script,
            examples,
            is_lawful: false,
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

    /// A new side without a class is where the old ones end.
    fn new_side(&mut self) -> Option<Vec<ClassId>> {
        let file = self.file;
        if !file.is_end() {
            return self.side("/new", &file.new);
        }
        if !file.steps.is_empty() || file.script.is_some() {
            let at = if file.script.is_some() { "/script" } else { "/steps" };
            let what = "there is nothing on the new side that this could lead to";
            self.flaw(at, what, "take it out, or name the classes in `new`");
        }
        Some(Vec::new())
    }

    fn parts(&mut self) -> Vec<Part> {
        let file = self.file;
        let secondaries: Vec<ClassName> = self.file.secondaries().into_iter().cloned().collect();
        for name in file.parts.keys().filter(|name| !secondaries.contains(name)) {
            self.flaw(
                format!("/parts/{name}"),
                format!("{name} is no part: it is no class of this lens, or the first of its side"),
                "describe the classes that stand behind the first of a side",
            );
        }
        let mut parts = Vec::new();
        // What ends needs no describing.
        for name in secondaries.iter().filter(|_| !file.is_end()) {
            let Some(part) = file.parts.get(name) else {
                self.flaw(
                    "/parts",
                    format!("nothing is said of {name}"),
                    format!("add `{name}: {{ default: {{…}} }}`: what a deleted one counts as"),
                );
                continue;
            };
            let is_optional = part.empty == Empty::Delete;
            if is_optional && part.missing == Some(Missing::Wait) {
                self.flaw(
                    format!("/parts/{name}/missing"),
                    "what is waited for may never come: with `empty: delete` there need not be such a document",
                    "write `missing: default`, or leave out one of the two",
                );
            }
            if let Some(class) = (self.lookup)(name) {
                parts.push(Part {
                    class,
                    default: Fields::from(&part.default),
                    is_awaited: !is_optional && part.missing.unwrap_or_default() == Missing::Wait,
                    is_optional,
                });
            }
        }
        parts
    }

    fn example(&mut self, n: usize, example: &ExampleFile) -> Option<Example> {
        let mut documents = |what: &str, documents: &Documents| {
            let at = format!("/examples/{n}/{what}");
            let documents = documents.iter();
            documents
                .map(|(name, fields)| {
                    Scope::new(self.file, &mut self.flaws).slot(&at, Some(name))?;
                    Some((self.class(&at, name)?, fields.as_ref().map(Fields::from)))
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
