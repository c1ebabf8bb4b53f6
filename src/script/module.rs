//! An ES module, rewritten into a function that runs it anew each time it is called.
//!
//! What a module keeps between two calls of its functions (a `let`, a `Map`, the variables of a closure) cannot be frozen from
//! outside. So every crossing of a lens gets modules of its own, but for those that keep nothing (`still.rs`): `import` and `export` give
//! way to the parameters and the result of a function, and the rest of the text stays where it is, to the column, so that errors name the
//! place in the file.

use std::fmt::Write;

use oxc_allocator::Allocator;
use oxc_ast::ast::{
    BindingPattern, Declaration, ExportDefaultDeclaration, ExportDefaultDeclarationKind, ExportNamedDeclaration,
    ImportDeclaration, ImportDeclarationSpecifier, Statement,
};
use oxc_parser::Parser;
use oxc_span::{GetSpan, SourceType, Span};

use super::{place::Place, still::still};

/// A module's imports and exports, and its text without them.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// What it imports from, as it is written, and where.
    pub imports: Vec<(String, Place)>,
    /// Names that are bound to what is imported: which of the imports, the name there (none for all of it), the name here.
    bindings: Vec<(usize, Option<String>, String)>,
    /// The names that it exports, and what they stand for.
    exports: Vec<(String, Export)>,
    /// Imports of which every export is exported again.
    stars: Vec<usize>,
    /// The names of one in which nothing can change between two calls.
    still: Option<Vec<String>>,
    text: String,
}

#[derive(Clone, Debug)]
enum Export {
    Local(String),
    Imported(usize, Option<String>),
}

/// The text is no module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong.
    pub what: String,
    /// Where.
    pub at: Place,
}

/// What freezes the values of a still module, the last of its parameters.
const FREEZE: &str = "freeze$";

/// Stands for the value of `export default` where that has no name of its own.
pub const DEFAULT: &str = "default$";

impl Module {
    /// Reads a module's text.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let allocator = Allocator::default();
        let parsed = Parser::new(&allocator, text, SourceType::mjs()).parse();
        if let Some(error) = parsed.errors.first() {
            let label = error.labels.iter().flatten().next();
            return Err(SyntaxError {
                what: error.message.to_string(),
                at: Place::of(text, label.map_or(0, |label| label.offset())),
            });
        }
        let mut reader = Reader {
            source: text,
            module: Module::default(),
            edits: Vec::new(),
        };
        for statement in &parsed.program.body {
            reader.statement(statement);
        }
        let mut module = reader.module;
        module.still = still(&parsed.program);
        module.text = text.to_owned();
        for (range, blank) in reader.edits.into_iter().rev() {
            module.text.replace_range(range, &blank);
        }
        Ok(module)
    }

    /// Whether nothing in it can change between two calls, so that it may be run once.
    pub fn is_still(&self) -> bool {
        self.still.is_some()
    }

    /// The names it exports; `of` tells those of its imports.
    pub fn exports(&self, of: &dyn Fn(usize) -> Vec<String>) -> Vec<String> {
        let own = self.exports.iter().map(|(name, _)| name.clone());
        let stars = self.stars.iter().flat_map(|&n| of(n)).filter(|name| name != "default");
        let mut names: Vec<String> = own.chain(stars).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The names that are taken from an import.
    pub fn taken(&self) -> impl Iterator<Item = (usize, &str)> {
        let bound = self
            .bindings
            .iter()
            .filter_map(|(n, name, _)| Some((*n, name.as_deref()?)));
        let passed = self.exports.iter().filter_map(|(_, export)| match export {
            Export::Imported(n, name) => Some((*n, name.as_deref()?)),
            Export::Local(_) => None,
        });
        bound.chain(passed)
    }

    /// The function's head, which stands in the first line before the module's own text.
    pub fn head(&self) -> String {
        let imports = (0..self.imports.len()).map(import);
        let freeze = self.is_still().then(|| FREEZE.to_owned());
        let parameters: Vec<String> = imports.chain(freeze).collect();
        let mut head = format!("(function({}){{\"use strict\";", parameters.join(","));
        for (n, name, local) in &self.bindings {
            let _ = match name {
                Some(name) => write!(head, "const {local}={};", member(*n, name)),
                None => write!(head, "const {local}={};", import(*n)),
            };
        }
        head
    }

    /// The whole function: given what the imports export, and what freezes its values if it is still, it runs the module and answers what that exports.
    pub fn function(&self, of: &dyn Fn(usize) -> Vec<String>) -> String {
        let mut text = self.head();
        text.push_str(&self.text);
        text.push('\n');
        if let Some(names) = &self.still {
            let _ = write!(text, ";{FREEZE}({})", names.join(","));
        }
        text.push_str(";return{__proto__:null");
        for (name, export) in &self.exports {
            let value = match export {
                Export::Local(local) => local.clone(),
                Export::Imported(n, Some(name)) => member(*n, name),
                Export::Imported(n, None) => import(*n),
            };
            let _ = write!(text, ",{}:{value}", quoted(name));
        }
        for &star in &self.stars {
            let is_own = |name: &String| self.exports.iter().any(|(own, _)| own == name);
            for name in of(star).iter().filter(|name| *name != "default" && !is_own(name)) {
                let _ = write!(text, ",{}:{}", quoted(name), member(star, name));
            }
        }
        text.push_str("}})");
        text
    }
}

fn import(n: usize) -> String {
    format!("import${n}")
}

fn member(n: usize, name: &str) -> String {
    format!("{}[{}]", import(n), quoted(name))
}

fn quoted(name: &str) -> String {
    serde_json::to_string(name).unwrap_or_default()
}

struct Reader<'a> {
    source: &'a str,
    module: Module,
    /// What stands instead of imports and exports, in the order of the source.
    edits: Vec<(std::ops::Range<usize>, String)>,
}

impl Reader<'_> {
    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::ImportDeclaration(import) => self.import(import),
            Statement::ExportNamedDeclaration(export) => self.named(export),
            Statement::ExportDefaultDeclaration(export) => self.default(export),
            Statement::ExportAllDeclaration(export) => {
                let n = self.from(&export.source.value, export.source.span);
                match &export.exported {
                    Some(name) => self.export(name.name().as_str(), Export::Imported(n, None)),
                    None => self.module.stars.push(n),
                }
                self.blank(export.span, "");
            }
            _ => {}
        }
    }

    fn import(&mut self, import: &ImportDeclaration) {
        let n = self.from(&import.source.value, import.source.span);
        for specifier in import.specifiers.iter().flatten() {
            let name = match specifier {
                ImportDeclarationSpecifier::ImportSpecifier(specifier) => Some(specifier.imported.name().to_string()),
                ImportDeclarationSpecifier::ImportDefaultSpecifier(_) => Some("default".to_owned()),
                ImportDeclarationSpecifier::ImportNamespaceSpecifier(_) => None,
            };
            self.module.bindings.push((n, name, specifier.local().name.to_string()));
        }
        self.blank(import.span, "");
    }

    fn named(&mut self, export: &ExportNamedDeclaration) {
        if let Some(declaration) = &export.declaration {
            for name in bound(declaration) {
                self.export(&name.clone(), Export::Local(name));
            }
            self.blank(Span::new(export.span.start, declaration.span().start), "");
            return;
        }
        let from = export
            .source
            .as_ref()
            .map(|source| self.from(&source.value, source.span));
        for specifier in &export.specifiers {
            let local = specifier.local.name().to_string();
            let value = match from {
                Some(n) => Export::Imported(n, Some(local)),
                None => Export::Local(local),
            };
            self.export(specifier.exported.name().as_str(), value);
        }
        self.blank(export.span, "");
    }

    fn default(&mut self, export: &ExportDefaultDeclaration) {
        let name = match &export.declaration {
            ExportDefaultDeclarationKind::FunctionDeclaration(function) => function.id.as_ref(),
            ExportDefaultDeclarationKind::ClassDeclaration(class) => class.id.as_ref(),
            _ => None,
        };
        let name = name.map(|name| name.name.to_string());
        let before = Span::new(export.span.start, export.declaration.span().start);
        match name {
            Some(name) => {
                self.blank(before, "");
                self.export("default", Export::Local(name));
            }
            None => {
                self.blank(before, &format!("let {DEFAULT}="));
                self.export("default", Export::Local(DEFAULT.to_owned()));
            }
        }
    }

    fn from(&mut self, source: &str, span: Span) -> usize {
        let imports = &mut self.module.imports;
        let known = imports.iter().position(|(known, _)| known == source);
        known.unwrap_or_else(|| {
            imports.push((source.to_owned(), Place::of(self.source, span.start as usize)));
            imports.len() - 1
        })
    }

    fn export(&mut self, name: &str, value: Export) {
        self.module.exports.push((name.to_owned(), value));
    }

    /// Takes a piece out and ends the statement before it, without moving what follows.
    fn blank(&mut self, span: Span, instead: &str) {
        let range = span.start as usize..span.end as usize;
        let piece = &self.source[range.clone()];
        let mut blank = format!(";{instead}");
        let written = blank.len();
        for (n, character) in piece.chars().enumerate() {
            match character {
                '\n' | '\r' => blank.push(character),
                _ if n >= written => blank.push(' '),
                _ => {}
            }
        }
        self.edits.push((range, blank));
    }
}

/// The names that a declaration binds.
fn bound(declaration: &Declaration) -> Vec<String> {
    match declaration {
        Declaration::VariableDeclaration(variables) => {
            let identifiers = |pattern: &BindingPattern| {
                let identifiers = pattern.get_binding_identifiers();
                identifiers.iter().map(|id| id.name.to_string()).collect::<Vec<_>>()
            };
            variables
                .declarations
                .iter()
                .flat_map(|declarator| identifiers(&declarator.id))
                .collect()
        }
        other => other.id().map(|id| id.name.to_string()).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(text: &str) -> String {
        Module::parse(text)
            .unwrap()
            .function(&|_| vec!["x".to_owned(), "default".to_owned()])
    }

    #[test]
    fn keeps_every_line_and_column() {
        let text = "import a, { b as c } from './a.js'\nexport const d = 1, { e } = c\n\nexport default (a)\nexport { d as f }";
        let function = function(text);
        let head = Module::parse(text).unwrap().head();
        assert_eq!(
            head,
            r#"(function(import$0){"use strict";const a=import$0["default"];const c=import$0["b"];"#
        );
        let body = function.strip_prefix(&head).unwrap();
        let lines: Vec<&str> = body.lines().collect();
        assert_eq!(lines[0].trim(), ";");
        assert_eq!(lines[1], ";      const d = 1, { e } = c");
        assert_eq!(lines[3], ";let default$= (a)");
        assert_eq!(
            lines[5],
            r#";return{__proto__:null,"d":d,"e":e,"default":default$,"f":d}})"#
        );
    }

    #[test]
    fn passes_on_what_others_export() {
        let function =
            function("export * from './a.js';\nexport * as b from './b.js'; export { y as z } from './b.js'");
        let last = function.lines().last().unwrap();
        assert_eq!(
            last,
            r#";freeze$();return{__proto__:null,"b":import$1,"z":import$1["y"],"x":import$0["x"]}})"#
        );
    }

    #[test]
    fn tells_where_a_text_is_no_module() {
        let error = Module::parse("const a = 1;\nconst b = ;").unwrap_err();
        assert_eq!(error.at, Place { line: 2, column: 11 });
    }
}
