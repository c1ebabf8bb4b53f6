//! From a lens file to a lens, or to every flaw in it.

use super::{Documents, Empty, ExampleFile, LensFile, Missing, Scope, ShareFile, Side, Way};
use crate::{
    couch::Fields,
    lens::{Example, Lens, Lookup, Part, Share, script::Scripted},
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
        let shares = self.shares();
        let shared = shares.iter().map(Share::class).collect();
        Some(Lens {
            step: Step { old, new, shared },
            parts,
            steps,
            script,
            shares,
            examples,
            is_lawful: false,
        })
    }

    fn shares(&mut self) -> Vec<Share> {
        let file = self.file;
        if !file.share.is_empty() && [&file.old, &file.new].iter().any(|side| side.names().len() != 1) {
            let what = "documents are shared where a side has several classes, or none";
            self.flaw("/share", what, "split or merge in a lens of its own");
        }
        for (n, share) in file.share.iter().enumerate() {
            let is_same = |other: &&ShareFile| other.field == share.field || other.reference == share.reference;
            if file.share[..n].iter().any(|other| is_same(&other)) {
                let mend = "give each a `field` and an `as` of its own";
                self.flaw(format!("/share/{n}"), "two shared documents have the same name", mend);
            }
        }
        let shares = file.share.iter().enumerate();
        shares.filter_map(|(n, share)| self.share(n, share)).collect()
    }

    fn share(&mut self, n: usize, share: &ShareFile) -> Option<Share> {
        let at = |what: &str| format!("/share/{n}/{what}");
        let mut scope = Scope::new(self.file, &mut self.flaws);
        scope.field(&at("field"), &share.field);
        scope.field(&at("as"), &share.reference);
        let key = match (&share.value, share.key.is_empty()) {
            (Some(value), true) => vec![value.clone()],
            _ => share.key.clone(),
        };
        if key.is_empty() {
            let mend = "name the fields that tell one from another, as in `key: [name]`";
            self.flaw(at("key"), "nothing says which document is meant", mend);
        }
        if share.value.as_ref().is_some_and(|value| key != [value.clone()]) {
            let mend = "leave `key` out: with `value` there is one field";
            self.flaw(at("key"), "the key is made of fields that are not embedded", mend);
        }
        let class = self.class(&at("class"), &share.class)?;
        if [&self.file.old, &self.file.new]
            .iter()
            .any(|side| side.names().contains(&share.class))
        {
            let what = format!("{} is a class of this lens", share.class);
            self.flaw(
                at("class"),
                what,
                "name the class of the documents that are referred to",
            );
        }
        Some(Share {
            field: share.field.clone(),
            reference: share.reference.clone(),
            class,
            key,
            value: share.value.clone(),
            default: share.default.as_ref().map(crate::lens::raw),
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
        let mut shared = Vec::new();
        for (name, fields) in &example.shared {
            let at = format!("/examples/{n}/shared");
            let is_shared = self.file.share.iter().any(|share| share.class == name.class);
            match &name.key {
                Some(key) if is_shared => {
                    shared.push((self.class(&at, &name.class)?, key.clone(), Fields::from(fields)))
                }
                _ => self.flaw(
                    at,
                    format!("{} is no document that this lens shares", name.class),
                    "name a class of `share` and a key, as in `group@1/garden`",
                ),
            }
        }
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
            shared,
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
