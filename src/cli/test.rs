//! `chesterfield test`

use std::io;

use chesterfield::{
    config::{Config, Overrides},
    lens::{Example, Lens},
    rehearsal::Scenario,
};

use super::{Failure, say};

enum Case<'a> {
    Example(&'a Lens, &'a Example),
    Scenario(&'a Scenario),
}

/// Runs the examples beside lenses and the tests.
pub fn run(overrides: &Overrides, only: &[String]) -> Result<(), Failure> {
    // What does not hold is told here, test by test.
    let schemas = Config::load_as_is(overrides)?.schemas;
    let is_wanted = |file: &str, name: &str| {
        only.is_empty() || only.iter().any(|text| file.contains(&**text) || name.contains(&**text))
    };
    let examples = schemas
        .lenses
        .iter()
        .zip(&schemas.files.lenses)
        .flat_map(|(lens, file)| {
            let examples = lens.examples().iter();
            examples.map(move |example| (file, &example.name, Case::Example(lens, example)))
        });
    let scenarios = schemas.scenarios.iter();
    let scenarios = scenarios.map(|(file, scenario)| (file, &scenario.name, Case::Scenario(scenario)));
    let (mut passed, mut failed) = (0, 0);
    for (file, name, case) in examples
        .chain(scenarios)
        .filter(|(file, name, _)| is_wanted(file, name))
    {
        let failures = match case {
            Case::Example(lens, example) => lens.run_example(example),
            Case::Scenario(scenario) => scenario
                .run(&schemas.registry, &schemas.lenses)
                .err()
                .into_iter()
                .collect(),
        };
        if failures.is_empty() {
            passed += 1;
            say(io::stdout(), &format_args!("ok      {file}: {name}"));
        } else {
            failed += 1;
            let failures = failures.join("\n").replace('\n', "\n        ");
            say(
                io::stdout(),
                &format_args!("FAILED  {file}: {name}\n        {failures}"),
            );
        }
    }
    if passed + failed == 0 && !only.is_empty() {
        let what = format!("no test has {} in its name or the name of its file", only.join(" or "));
        return Err(Failure::Usage(what));
    }
    say(io::stdout(), &format_args!("\n{passed} passed, {failed} failed"));
    if failed == 0 { Ok(()) } else { Err(Failure::Said(1)) }
}
