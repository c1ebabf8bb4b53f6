//! A script's modules, found by their relative imports.

use super::{Place, module::Module};
use crate::schema::Flaw;

/// Reads a file of the folder of schemas, or says why it cannot.
pub type Read<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

/// A flaw, and the file it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFlaw {
    /// As it is named within the folder of schemas.
    pub file: String,
    /// What is wrong in it.
    pub flaw: Flaw,
}

impl FileFlaw {
    pub(super) fn new(file: &str, at: Option<Place>, what: impl Into<String>, mend: &str) -> Self {
        let at = at.map_or_else(String::new, |at| at.long());
        Self {
            file: file.to_owned(),
            flaw: Flaw::new(at, what, mend),
        }
    }
}

/// A module whose imports have been found.
#[derive(Clone, Debug)]
pub struct Linked {
    /// As it is named within the folder of schemas.
    pub file: String,
    /// The text of its function.
    pub function: String,
    /// How many characters stand before its own text, in its first line.
    pub head: usize,
    /// What it imports, as places in the list of modules.
    pub imports: Vec<usize>,
    /// Nothing in it can change between two calls.
    pub is_still: bool,
    exports: Vec<String>,
}

struct Linker<'a> {
    read: &'a Read<'a>,
    linked: Vec<Linked>,
    /// The files that are being read: each is imported by the one before it.
    open: Vec<String>,
    flaws: Vec<FileFlaw>,
}

/// Finds all modules of a script, what is imported before what imports it.
pub fn link(file: &str, read: &Read) -> Result<Vec<Linked>, Vec<FileFlaw>> {
    let mut linker = Linker {
        read,
        linked: Vec::new(),
        open: Vec::new(),
        flaws: Vec::new(),
    };
    match read(file) {
        Ok(text) => drop(linker.module(file, &text)),
        Err(what) => {
            let mend = "mend the path, which is relative to the lens's file";
            linker.flaw(file, None, format!("cannot be read: {what}"), mend);
        }
    }
    match linker.flaws.is_empty() {
        true => Ok(linker.linked),
        false => Err(linker.flaws),
    }
}

impl Linker<'_> {
    fn flaw(&mut self, file: &str, at: Option<Place>, what: impl Into<String>, mend: &str) {
        self.flaws.push(FileFlaw::new(file, at, what, mend));
    }

    /// The module's place; none after its flaws were told.
    fn module(&mut self, file: &str, text: &str) -> Option<usize> {
        let module = match Module::parse(text) {
            Ok(module) => module,
            Err(error) => {
                self.flaw(
                    file,
                    Some(error.at),
                    format!("is no JavaScript: {}", error.what),
                    "mend the syntax",
                );
                return None;
            }
        };
        let is_entry = self.open.is_empty();
        self.open.push(file.to_owned());
        let found: Vec<Option<usize>> = module
            .imports
            .iter()
            .map(|(source, at)| self.import(file, source, *at))
            .collect();
        self.open.pop();
        for (n, name) in module.taken() {
            let Some(imported) = found[n].map(|place| &self.linked[place]) else {
                continue;
            };
            if !imported.exports.iter().any(|export| export == name) {
                let what = format!("imports `{name}`, which {} does not export", imported.file);
                let mend = "mend the name, or export it there";
                self.flaw(file, Some(module.imports[n].1), what, mend);
            }
        }
        let of = |n: usize| found[n].map_or_else(Vec::new, |place| self.linked[place].exports.clone());
        let exports = module.exports(&of);
        let is_missing = |name: &&str| is_entry && !exports.iter().any(|export| export == name);
        for name in ["up", "down"].into_iter().filter(is_missing) {
            let mend = format!("add `export function {name}(docs, existing) {{ … }}`");
            self.flaws
                .push(FileFlaw::new(file, None, format!("exports no `{name}`"), &mend));
        }
        let imports: Vec<usize> = found.iter().copied().collect::<Option<_>>()?;
        let linked = Linked {
            file: file.to_owned(),
            function: module.function(&of),
            head: module.head().chars().count(),
            is_still: module.is_still(),
            exports,
            imports,
        };
        self.linked.push(linked);
        Some(self.linked.len() - 1)
    }

    fn import(&mut self, from: &str, source: &str, at: Place) -> Option<usize> {
        if !(source.starts_with("./") || source.starts_with("../")) {
            let what = format!("imports `{source}`, which is no file beside it");
            let mend = "import by a relative path, as in `./units.js`; packages are bundled into the script first";
            self.flaw(from, Some(at), what, mend);
            return None;
        }
        let Some(file) = resolve(from, source) else {
            let what = format!("imports `{source}`, which is outside of the folder of schemas");
            self.flaw(from, Some(at), what, "move it into that folder");
            return None;
        };
        if let Some(known) = self.linked.iter().position(|module| module.file == file) {
            return Some(known);
        }
        if self.open.contains(&file) {
            let what = format!("imports `{source}`, which imports it in turn");
            self.flaw(from, Some(at), what, "move what both need into a third file");
            return None;
        }
        match (self.read)(&file) {
            Ok(text) => self.module(&file, &text),
            Err(what) => {
                let what = format!("imports `{source}`, which cannot be read: {what}");
                self.flaw(from, Some(at), what, "mend the path, with its extension");
                None
            }
        }
    }
}

/// The file that a relative path leads to; none outside of the folder.
pub fn resolve(from: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
