//! The laws of lenses, tried on documents that fit their classes. The simplest that shows a defect is told.

mod chain;
mod crossing;
mod generate;

use std::{cell::Cell, collections::BTreeSet};

use proptest::{
    option,
    strategy::{BoxedStrategy, Strategy},
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};

use crate::{
    couch::Fields,
    lens::Lens,
    schema::{ClassId, Direction, Flaw, Place, Registry, Rule},
};
use crossing::Crossing;

/// At most so many steps towards the simplest document.
const SHRINKS: u32 = 2000;

/// How often a document is sought that fits its class.
const ATTEMPTS: u32 = 20;

/// What does not hold, in words.
type Broken = (Rule, String);

/// The documents of a side; none is no document.
type Side = Vec<(ClassId, Option<Fields>)>;

/// Tries the laws on each lens in both directions, and on what lenses are together: each on `cases` documents, which are the same
/// every time.
pub fn try_out(registry: &Registry, lenses: &[Lens], cases: u32) -> Vec<(Place, Flaw)> {
    let maker = Maker { registry, lenses };
    let lawful: Vec<Lens> = lenses.iter().map(Lens::lawful).collect();
    let mut flaws = Vec::new();
    let mut untried = BTreeSet::new();
    let tied = lenses.iter().enumerate().filter(|(_, lens)| !lens.step().is_end());
    for (n, lens) in tied {
        let side = |classes: &[ClassId]| maker.side(classes, |part| lens.is_optional(part));
        for to in Direction::BOTH {
            let (near, far) = lens.step().sides(to);
            let (sources, before) = match (side(near), side(far)) {
                (Ok(sources), Ok(before)) => (sources, before),
                (sources, before) => {
                    untried.extend([sources.err(), before.err()].into_iter().flatten());
                    continue;
                }
            };
            let crossing = Crossing {
                registry,
                lens,
                lawful: &lawful[n],
                to,
            };
            let broken = search(cases, (sources, before), |(sources, before)| {
                crossing.holds(sources, None)?;
                crossing.holds(sources, Some(before))
            });
            flaws.extend(broken.map(|(rule, what)| (Place::Step(n), rule.flaw("", what, mend(rule)))));
        }
    }
    // A chain shows again what does not hold of one of its lenses.
    let is_broken = |class: ClassId| {
        let steps = flaws.iter().filter_map(|(place, _): &(Place, Flaw)| match place {
            Place::Step(n) => registry.steps().get(*n),
            Place::Class(_) => None,
        });
        let mut tied = steps.flat_map(|step| &step.old);
        tied.any(|old| registry.entity(class).contains(old))
    };
    let firsts = registry.classes().map(|(class, _)| class);
    let firsts = firsts.filter(|class| registry.entity(*class).first() == Some(class));
    let firsts = firsts.filter(|class| registry.entity(*class).len() > 2 && !is_broken(*class));
    for first in firsts.collect::<Vec<_>>() {
        let oldest = chain::oldest(registry, first);
        if let Ok(sources) = maker.side(&oldest, |_| false) {
            let broken = search(cases.div_ceil(4), sources, |sources| {
                chain::holds(registry, &lawful, sources)
            });
            let place = Place::Class(oldest[0]);
            flaws.extend(broken.map(|(rule, what)| (place, rule.flaw("", what, mend(rule)))));
        }
    }
    // Where a class demands nothing, documents are known from examples, and that there are none is told of the lens.
    let untried = untried
        .into_iter()
        .filter(|class| !registry.class(*class).validator.is_open());
    flaws.extend(untried.map(|class| {
        let name = &registry.class(class).name;
        let what = format!("no document of {name} could be made up: only examples show that its lenses hold");
        (Place::Class(class), Rule::NotTried.flaw("", what, mend(Rule::NotTried)))
    }));
    flaws
}

fn mend(rule: Rule) -> &'static str {
    match rule {
        Rule::NotCarried => "say in the lens what becomes of such a value, or narrow the schema",
        Rule::Misfit => "let the lens make what the schema asks for, or mend the schema",
        Rule::NotTried => "simplify its JSON Schema, or add examples to its lenses",
        _ => "mend the lens: crossing it must not change what a side knows",
    }
}

/// What makes documents up.
struct Maker<'a> {
    registry: &'a Registry,
    lenses: &'a [Lens],
}

impl Maker<'_> {
    /// A document of each class, of some perhaps none; or the class of which none can be made.
    fn side(&self, classes: &[ClassId], is_optional: impl Fn(ClassId) -> bool) -> Result<BoxedStrategy<Side>, ClassId> {
        let each = classes.iter().map(|&class| {
            let documents = self.documents(class).ok_or(class)?;
            let documents = match is_optional(class) {
                true => option::of(documents).boxed(),
                false => documents.prop_map(Some).boxed(),
            };
            Ok(documents.prop_map(move |fields| (class, fields)))
        });
        Ok(each.collect::<Result<Vec<_>, _>>()?.boxed())
    }

    fn documents(&self, class: ClassId) -> Option<BoxedStrategy<Fields>> {
        let examples = self.lenses.iter().flat_map(Lens::examples);
        let written = examples.flat_map(|example| example.old.iter().chain(&example.new).chain(&example.had));
        let written = written
            .filter(|(of, _)| *of == class)
            .filter_map(|(_, fields)| fields.as_ref());
        let documents = generate::documents(self.registry.class(class), &written.collect::<Vec<_>>())?;
        let mut runner = runner(1);
        (0..ATTEMPTS)
            .any(|_| documents.new_tree(&mut runner).is_ok())
            .then_some(documents)
    }
}

fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: SHRINKS,
        max_local_rejects: 2000,
        max_global_rejects: 2000,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// The simplest of the cases for which something does not hold.
fn search<S: Strategy>(cases: u32, of: S, holds: impl Fn(&S::Value) -> Result<(), Broken>) -> Option<Broken> {
    // Smaller cases may show another defect: it stays with the one that was found first.
    let found = Cell::new(None);
    let result = runner(cases).run(&of, |case| match holds(&case) {
        Err((rule, _)) if found.get().is_none_or(|found| found == rule) => {
            found.set(Some(rule));
            Err(TestCaseError::fail(rule.code()))
        }
        _ => Ok(()),
    });
    match result {
        Err(TestError::Fail(_, simplest)) => holds(&simplest).err(),
        _ => None,
    }
}

/// A line for each document of a side.
fn listed(registry: &Registry, label: &str, side: &Side) -> String {
    let lines = side.iter().map(|(class, fields)| {
        let text = fields
            .as_ref()
            .map(|fields| serde_json::to_string(fields).unwrap_or_default());
        let text = text.unwrap_or_else(|| "no document".to_owned());
        format!("{label} {}: {text}", registry.class(*class).name)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
