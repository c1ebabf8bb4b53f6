//! From the folder of schemas to registry, lenses and manifests.

use std::{path::Path, sync::Arc};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    folder::{self, Source},
    manifests,
    problem::{Problem, Report},
    read::Form,
};
use crate::{
    lens::{Lens, LensFile},
    lint,
    rehearsal::{Scenario, ScenarioFile},
    schema::{
        Apps, Class, ClassId, ClassName, Fingerprints, Flaw, IdPattern, Place, Registry, Rule, Scope, Step, pattern,
    },
    script::{self, Script},
};

/// What stands in the folder of schemas, compiled.
#[derive(Clone, Debug)]
pub struct Schemas {
    /// Every class, tied by the steps of the lenses.
    pub registry: Arc<Registry>,
    /// In the order of the registry's steps.
    pub lenses: Vec<Lens>,
    /// Every manifest, with what follows from it.
    pub apps: Apps,
    /// The tests of `tests/*.yaml`, each with its file.
    pub scenarios: Vec<(String, Scenario)>,
    /// What tells whether a class, or how it is tied to others, has changed.
    pub fingerprints: Fingerprints,
    /// Where classes and lenses were read.
    pub files: Files,
}

/// The files of classes and lenses, each in the order of the registry.
#[derive(Clone, Debug)]
pub struct Files {
    /// `schemas/classes/todo-item@2.json`
    pub classes: Vec<String>,
    /// `schemas/lenses/todo-item-1-to-2.yaml`
    pub lenses: Vec<String>,
}

/// A JSON Schema, and the members that are read here.
#[derive(Debug, Deserialize)]
struct ClassFile {
    id: Option<String>,
    version: Option<String>,
    #[serde(rename = "documentId")]
    document_id: Option<String>,
    #[serde(default)]
    attachments: Carrying,
    merge: Option<Merge>,
    /// All other members.
    #[serde(flatten)]
    definition: Map<String, Value>,
}

/// Whether the attachments of a class's documents are carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Carrying {
    #[default]
    Copy,
    Omit,
}

/// What becomes of conflicts.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Merge {
    /// Two sides that have changed different fields become one.
    Fields,
}

/// A class and the file it is from.
pub(super) struct Declared {
    pub(super) file: String,
    pub(super) class: Class,
    /// The file has flaws: the class stands in, so that what names it is not blamed for them.
    pub(super) is_stand_in: bool,
}

/// A lens and the file it is from.
struct Tied {
    file: String,
    lens: Lens,
    /// What decides what it does: the file without its examples, and its scripts.
    written: String,
}

/// Reads and compiles `classes/*.json`, `lenses/*.yaml`, `apps/*.json` and `tests/*.yaml`. None if any of it cannot be read or
/// understood. `scope` counts for apps that do not say, `limits` for each script.
pub(super) fn load(root: &Path, scope: Scope, limits: script::Limits, report: &mut Report) -> Option<Schemas> {
    let told = report.unreadable();
    if let Err(error) = std::fs::read_dir(root) {
        let mend = "name the folder that holds `classes`, `lenses` and `apps`: `schemas` in the configuration, \
                    CHESTERFIELD_SCHEMAS or --schemas";
        report.add(root.display(), folder::unreadable(&error, mend));
        return None;
    }
    for path in folder::paths(root, report) {
        if !["classes", "lenses", "apps", "tests"]
            .iter()
            .any(|known| path.ends_with(known))
        {
            let what = "is none of `classes`, `lenses`, `apps` and `tests`";
            report.add(path.display(), Flaw::new("", what, "rename it, or move it elsewhere"));
        }
    }
    let classes = classes(root, report);
    let lenses = lenses(root, &classes, limits, report);
    let registry = registry(&classes, &lenses, report);
    let manifests = manifests::load(root, &classes, report);
    let scenarios = scenarios(root, &classes, report);
    let registry = registry.filter(|_| report.unreadable() == told)?;
    let apps = manifests::filtered(manifests, &registry, scope)?;
    let written: Vec<String> = lenses.iter().map(|lens| lens.written.clone()).collect();
    let (lens_files, lenses) = lenses.into_iter().map(|Tied { file, lens, .. }| (file, lens)).unzip();
    let schemas = Schemas {
        fingerprints: Fingerprints::new(&registry, &written),
        registry,
        lenses,
        apps,
        scenarios,
        files: Files {
            classes: classes.into_iter().map(|declared| declared.file).collect(),
            lenses: lens_files,
        },
    };
    for (place, flaw) in lint::at_once(&schemas.registry, &schemas.lenses, &schemas.apps) {
        report.add(schemas.files.of(place), flaw);
    }
    Some(schemas)
}

impl Schemas {
    /// What comes to light when everything is tried out, the laws of lenses on `cases` documents each; `serve` does without.
    pub fn try_out(&self, cases: u32) -> Vec<Problem> {
        let laws = lint::try_out(&self.registry, &self.lenses, cases).into_iter();
        let laws = laws.map(|(place, flaw)| {
            let file = self.files.of(place).to_owned();
            Problem { file, flaw }
        });
        let mut problems: Vec<Problem> = laws.collect();
        for (file, scenario) in &self.scenarios {
            if let Err(what) = scenario.run(&self.registry, &self.lenses) {
                let what = format!("“{}”: {what}", scenario.name);
                let flaw = Rule::Test.flaw("", what, "mend the lenses or the test");
                let file = file.clone();
                problems.push(Problem { file, flaw });
            }
        }
        problems
    }
}

impl Files {
    /// The file of a class or a lens.
    pub fn of(&self, place: Place) -> &str {
        match place {
            Place::Class(class) => &self.classes[class.0],
            Place::Step(n) => &self.lenses[n],
        }
    }
}

fn classes(root: &Path, report: &mut Report) -> Vec<Declared> {
    let folder = root.join("classes");
    let sources: Vec<Source<ClassFile>> = folder::read_files(&folder, Form::Json, &[], report);
    if sources.is_empty() {
        let mend = "add a JSON Schema for each schema and major version";
        report.add(folder.display(), Flaw::new("", "holds no class", mend));
    }
    let mut classes: Vec<Declared> = Vec::new();
    for source in sources {
        let (class, is_stand_in) = match source.value.as_ref().and_then(|file| class(&source, file, report)) {
            Some(class) => (Some(class), source.is_flawed),
            None => (stand_in(&source.stem), true),
        };
        let Some(class) = class else { continue };
        let name = &class.name;
        if let Some(other) = classes.iter().find(|other| other.class.name == *name) {
            let what = format!("declares {name}, as {} does", other.file);
            let mend = "keep one schema for each major version: its newest minor version says all";
            report.add(&source.file, Flaw::new("", what, mend));
            continue;
        }
        is_named(&source, &name.to_string(), "json", report);
        classes.push(Declared {
            file: source.file,
            class,
            is_stand_in,
        });
    }
    classes
}

fn class(source: &Source<ClassFile>, file: &ClassFile, report: &mut Report) -> Option<Class> {
    let schema = file.id.as_deref().filter(|id| !id.is_empty());
    if schema.is_none() {
        let mend = "add the name that documents carry in `schema`, as in `\"id\": \"todo-item\"`";
        report.add_missing(&source.file, Flaw::new("/id", "the schema has no name", mend));
    }
    let version = version(&source.file, file.version.as_deref(), report);
    let (schema, version) = (schema?, version?);
    let name = ClassName {
        schema: schema.into(),
        major: version.major,
    };
    for (field, expected) in [("schema", Value::from(schema)), ("version", version.major.into())] {
        let at = format!("/properties/{field}/const");
        let declared = file
            .definition
            .get("properties")
            .and_then(|properties| properties.get(field))
            .and_then(|property| property.get("const"));
        if let Some(declared) = declared.filter(|declared| **declared != expected) {
            let what = format!("is {declared}, but documents of {name} carry {expected}");
            let mend = format!("write {expected}, or mend `id` or `version` above");
            report.add(&source.file, Flaw::new(at, what, mend));
        }
    }
    let text = file.document_id.as_deref().unwrap_or(pattern::DEFAULT);
    let pattern = IdPattern::new(text, &name).map_err(|error| {
        let mend = format!(
            "write a pattern like `{}`, or one id for a class of one document",
            pattern::DEFAULT
        );
        Flaw::new("/documentId", error.to_string(), mend)
    });
    let pattern = report.take(&source.file, pattern)?;
    let class = Class {
        merges_fields: matches!(file.merge, Some(Merge::Fields)),
        omits_attachments: file.attachments == Carrying::Omit,
        ..Class::new(name, version, pattern)
    };
    report.take(
        &source.file,
        class.with_definition(Value::Object(file.definition.clone())),
    )
}

/// A semantic version, told at `/version`.
pub(super) fn version(file: &str, text: Option<&str>, report: &mut Report) -> Option<semver::Version> {
    let mend = "write three numbers, as in `\"version\": \"2.0.0\"`";
    let Some(text) = text else {
        report.add_missing(file, Flaw::new("/version", "there is no version", mend));
        return None;
    };
    let version = text.parse().map_err(|error| {
        let what = format!("`{text}` is no semantic version: {error}");
        Flaw::new("/version", what, mend)
    });
    report.take(file, version)
}

fn stand_in(stem: &str) -> Option<Class> {
    let name: ClassName = stem.parse().ok()?;
    let pattern = IdPattern::new(pattern::DEFAULT, &name).ok()?;
    let version = semver::Version::new(name.major, 0, 0);
    Some(Class::new(name, version, pattern))
}

/// Notes a file whose name does not say what is in it.
pub(super) fn is_named<T>(source: &Source<T>, name: &str, extension: &str, report: &mut Report) {
    let name = name.replace(['/', '\\'], "-");
    if source.stem != name {
        let what = format!("its name does not say what is in it: {name}");
        report.add(
            &source.file,
            Flaw::new("", what, format!("rename it to {name}.{extension}")),
        );
    }
}

fn lenses(root: &Path, classes: &[Declared], limits: script::Limits, report: &mut Report) -> Vec<Tied> {
    let mut lenses = Vec::new();
    for source in folder::read_files::<LensFile>(&root.join("lenses"), Form::Yaml, &["js", "mjs"], report) {
        let Some(file) = source.value.filter(|_| !source.is_flawed) else {
            continue;
        };
        let mut written = source.written;
        // They change nothing of what it does.
        written.as_object_mut().map(|members| members.shift_remove("examples"));
        let mut written = written.to_string();
        let script = match &file.script {
            Some(path) => match script(root, &source.file, path, limits, report) {
                Some(script) => Some(script),
                None => continue,
            },
            None => None,
        };
        written.extend(script.iter().flat_map(Script::modules));
        let flaws = match file.compile_with(&|name| look_up(classes, name), script) {
            Ok(lens) => {
                let flaws = lens.run_examples();
                lenses.push(Tied {
                    file: source.file.clone(),
                    lens,
                    written,
                });
                flaws
            }
            Err(flaws) => flaws,
        };
        flaws.into_iter().for_each(|flaw| report.add(&source.file, flaw));
    }
    lenses
}

/// The script of a lens: a path from the folder of lenses.
fn script(root: &Path, lens: &str, path: &str, limits: script::Limits, report: &mut Report) -> Option<Script> {
    let Some(file) = script::link::resolve("lenses/", path) else {
        let what = format!("`{path}` is outside of the folder of schemas");
        report.add(lens, Flaw::new("/script", what, "move it beside this file"));
        return None;
    };
    if let Err(what) = folder::read_within(root, &file) {
        let mend = "name a file, as it is called from this folder";
        report.add(
            lens,
            Flaw::new("/script", format!("`{path}` cannot be read: {what}"), mend),
        );
        return None;
    }
    let read = |file: &str| folder::read_within(root, file);
    match Script::load(&file, &read, limits) {
        Ok(script) => Some(script),
        Err(flaws) => {
            for flaw in flaws {
                report.add(root.join(&flaw.file).display(), flaw.flaw);
            }
            None
        }
    }
}

fn look_up(classes: &[Declared], name: &ClassName) -> Option<ClassId> {
    let place = classes.iter().position(|declared| declared.class.name == *name);
    place.map(ClassId)
}

fn scenarios(root: &Path, classes: &[Declared], report: &mut Report) -> Vec<(String, Scenario)> {
    let mut scenarios = Vec::new();
    for source in folder::read_files::<Vec<ScenarioFile>>(&root.join("tests"), Form::Yaml, &[], report) {
        for (n, file) in source.value.iter().flatten().enumerate() {
            match file.compile(&format!("/{n}"), &|name| look_up(classes, name)) {
                Ok(scenario) => scenarios.push((source.file.clone(), scenario)),
                Err(flaws) => flaws.into_iter().for_each(|flaw| report.add(&source.file, flaw)),
            }
        }
    }
    scenarios
}

fn registry(classes: &[Declared], lenses: &[Tied], report: &mut Report) -> Option<Arc<Registry>> {
    let steps: Vec<Step> = lenses.iter().map(|tied| tied.lens.step().clone()).collect();
    let of_classes = classes.iter().map(|declared| declared.class.clone());
    match Registry::new(of_classes.collect(), steps) {
        Ok(registry) => Some(Arc::new(registry)),
        Err(flaws) => {
            for (place, flaw) in flaws {
                let file = match place {
                    Place::Class(class) => &classes[class.0].file,
                    Place::Step(n) => &lenses[n].file,
                };
                report.add(file, flaw);
            }
            None
        }
    }
}
