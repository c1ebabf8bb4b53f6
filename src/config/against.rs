//! What has changed since an earlier state of the schemas, which apps it concerns, and what must not be released like that.

use std::{collections::BTreeSet, fs, path::Path};

use semver::Version;
use serde::Serialize;

use super::{Earlier, Problem, Schemas};
use crate::{
    lint::{Impact, changes},
    schema::{Class, ClassId, Rule},
};

/// A class or a lens that is new, gone or different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Its file.
    pub file: String,
    /// `todo-item@2`, or `todo-item@1 <-> todo-item@2`.
    pub name: String,
    /// The version of a class before; none of one that is new, and of lenses.
    pub from: Option<Version>,
    /// The version of a class now.
    pub to: Option<Version>,
    /// How far it reaches.
    pub level: Level,
    /// Each change of a class.
    pub what: Vec<String>,
    /// Apps that read and write it.
    pub apps: Vec<String>,
    /// Apps that are reached through lenses.
    pub reached: Vec<String>,
}

/// How far a change reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It was not there.
    New,
    /// It is not there any more.
    Gone,
    /// A class that asks for another major version.
    Major,
    /// A class that asks for another minor version.
    Minor,
    /// A class that asks for another patch version.
    Patch,
    /// A lens that does something else.
    Different,
}

impl Schemas {
    /// What has changed, and the problems of it.
    pub fn against(&self, earlier: &Earlier) -> (Vec<Changed>, Vec<Problem>) {
        let mut changed = Vec::new();
        let mut problems = Vec::new();
        for (id, class) in self.registry.classes() {
            let file = &self.files.classes[id.0];
            let before = earlier
                .schemas
                .registry
                .classes()
                .find(|(_, old)| old.name == class.name);
            let Some((_, old)) = before else {
                changed.push(self.changed(file, class.name.to_string(), Level::New, &[id]));
                continue;
            };
            let all = compared(old, class);
            let Some(worst) = all.iter().map(|(impact, _)| *impact).max() else {
                continue;
            };
            let level = match worst {
                Impact::Break => Level::Major,
                Impact::Risk | Impact::Addition => Level::Minor,
                Impact::Wording => Level::Patch,
            };
            let of = |wanted: Impact| -> Vec<String> {
                let all = all.iter().filter(|(impact, _)| *impact == wanted);
                all.map(|(_, what)| what.clone()).collect()
            };
            let name = &class.name;
            for (impact, rule, mend) in [
                (
                    Impact::Break,
                    Rule::Breaks,
                    format!(
                        "take it back, or make it {}@{}: `chesterfield new-version {}`",
                        name.schema,
                        name.major + 1,
                        name.schema
                    ),
                ),
                (
                    Impact::Risk,
                    Rule::Risks,
                    "see that released apps can live with it, or make it another major version".to_owned(),
                ),
            ] {
                let told = of(impact);
                if !told.is_empty() {
                    let what = format!(
                        "apps that work with {name} {} are released:\n{}",
                        old.version,
                        told.join("\n")
                    );
                    let flaw = rule.flaw("", what, mend);
                    problems.push(Problem {
                        file: file.clone(),
                        flaw,
                    });
                }
            }
            if let Some(mend) = unraised(level, &old.version, &class.version) {
                let what = format!("{name} has changed, and its version is {} as before", class.version);
                let what = if class.version < old.version {
                    format!(
                        "{name} has changed, and its version has gone back from {} to {}",
                        old.version, class.version
                    )
                } else {
                    what
                };
                let flaw = Rule::SameVersion.flaw("/version", what, mend);
                problems.push(Problem {
                    file: file.clone(),
                    flaw,
                });
            }
            changed.push(Changed {
                from: Some(old.version.clone()),
                what: all.into_iter().map(|(_, what)| what).collect(),
                ..self.changed(file, name.to_string(), level, &[id])
            });
        }
        self.lenses_against(earlier, &mut changed);
        for (id, class) in earlier.schemas.registry.classes() {
            if self.registry.classes().all(|(_, now)| now.name != class.name) {
                let file = &earlier.schemas.files.classes[id.0];
                let stem = Path::new(file)
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let file = format!("classes/{stem}");
                let what = format!(
                    "{} is gone: its documents stay where they are, and are of no class",
                    class.name
                );
                let flaw = Rule::GoneClass.flaw("", what, "keep it while any client or database has such documents");
                problems.push(Problem {
                    file: file.clone(),
                    flaw,
                });
                changed.push(Changed {
                    from: Some(class.version.clone()),
                    ..earlier
                        .schemas
                        .changed(&file, class.name.to_string(), Level::Gone, &[id])
                });
            }
        }
        (changed, problems)
    }

    fn lenses_against(&self, earlier: &Earlier, changed: &mut Vec<Changed>) {
        let before: Vec<(String, String)> = earlier
            .schemas
            .lens_texts()
            .map(|(_, name, text)| (name, text))
            .collect();
        for (n, name, text) in self.lens_texts() {
            let level = match before.iter().find(|(old, _)| *old == name) {
                None => Level::New,
                Some((_, old)) if *old != text => Level::Different,
                Some(_) => continue,
            };
            let step = &self.registry.steps()[n];
            let classes: Vec<ClassId> = step.old.iter().chain(&step.new).copied().collect();
            changed.push(self.changed(&self.files.lenses[n], name, level, &classes));
        }
        for (n, name, _) in earlier.schemas.lens_texts() {
            if self.lens_texts().all(|(_, now, _)| now != name) {
                let step = &earlier.schemas.registry.steps()[n];
                let classes: Vec<ClassId> = step.old.iter().chain(&step.new).copied().collect();
                let file = &earlier.schemas.files.lenses[n];
                changed.push(earlier.schemas.changed(file, name, Level::Gone, &classes));
            }
        }
    }

    /// Each lens with what it ties, and the text of its file, with those of the modules that it runs.
    fn lens_texts(&self) -> impl Iterator<Item = (usize, String, String)> {
        let steps = self.registry.steps().iter().enumerate();
        steps.map(move |(n, step)| {
            let file = Path::new(&self.files.lenses[n]);
            let mut text = fs::read_to_string(file).unwrap_or_default();
            text.extend(self.lenses[n].modules());
            (n, self.registry.tells(step), text)
        })
    }

    fn changed(&self, file: &str, name: String, level: Level, classes: &[ClassId]) -> Changed {
        let working = |classes: &BTreeSet<ClassId>| -> Vec<String> {
            let apps = self.apps.iter().filter(|app| {
                let mut classes = classes.iter().map(|class| self.registry.class(*class));
                classes.any(|class| app.manifest.works_with(class))
            });
            apps.map(ToString::to_string).collect()
        };
        let near: BTreeSet<ClassId> = classes.iter().copied().collect();
        let via = |from: ClassId, to: ClassId| self.registry.via(from, to).is_some();
        let far = self.registry.classes().map(|(id, _)| id);
        let far = far.filter(|other| near.iter().any(|class| via(*class, *other) || via(*other, *class)));
        let apps = working(&near);
        let reached = working(&far.collect()).into_iter().filter(|app| !apps.contains(app));
        let to = match classes {
            [class] if level != Level::Gone => Some(self.registry.class(*class).version.clone()),
            _ => None,
        };
        Changed {
            file: file.to_owned(),
            name,
            from: None,
            to,
            level,
            what: Vec::new(),
            reached: reached.collect(),
            apps,
        }
    }
}

/// Each change of a class in words, with its place.
fn compared(old: &Class, new: &Class) -> Vec<(Impact, String)> {
    let told = changes(&old.definition, &new.definition).into_iter();
    let told = told.map(|change| (change.impact, format!("{}: {}", change.at, change.what)));
    let is_same_pattern = old.pattern == new.pattern;
    let pattern = (
        Impact::Break,
        "/documentId: has changed: documents that are there are of no class".to_owned(),
    );
    let attachments = (
        Impact::Risk,
        "/attachments: has changed: those that are there stay where they are, and others come or no longer do"
            .to_owned(),
    );
    let is_carrying_same = old.omits_attachments == new.omits_attachments;
    told.chain((!is_same_pattern).then_some(pattern))
        .chain((!is_carrying_same).then_some(attachments))
        .collect()
}

/// How to mend a version that does not say what has changed. What breaks asks for more, and is told elsewhere.
fn unraised(level: Level, old: &Version, new: &Version) -> Option<String> {
    let minor = Version::new(old.major, old.minor + 1, 0);
    let patch = Version::new(old.major, old.minor, old.patch + 1);
    let least = match level {
        Level::Minor => minor,
        Level::Patch => patch,
        _ => return None,
    };
    (*new < least).then(|| format!("make it {least}"))
}
