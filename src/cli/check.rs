//! `chesterfield check`

use std::{fmt, io};

use chesterfield::config::{Changed, Config, Earlier, Level, Overrides, Problems};
use serde::Serialize;

use super::{Failure, USAGE, args::Format, say, screen::Served};

/// What is checked, and how it is told.
pub struct How {
    pub format: Format,
    pub deny_warnings: bool,
    /// On how many documents the laws of each lens are tried.
    pub cases: u32,
    /// An earlier state: a folder or a git revision.
    pub against: Option<String>,
}

/// What tools read.
#[derive(Serialize)]
struct Told<'a> {
    problems: &'a Problems,
    errors: usize,
    warnings: usize,
    /// Since the earlier state, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<&'a [Changed]>,
}

/// What people read of changes.
struct Since<'a>(&'a str, &'a [Changed]);

/// Loads everything, tries what can be tried, and says what is wrong or what is there.
pub fn run(overrides: &Overrides, how: &How) -> Result<(), Failure> {
    let (config, mut problems) = Config::examine(overrides);
    let mut changes = None;
    if let Some(config) = &config {
        problems = problems.and(config.schemas.try_out(how.cases));
        if let Some(name) = &how.against {
            let earlier = Earlier::load(name, &config.schemas_folder);
            let earlier = earlier.map_err(|error| Failure::Usage(format!("--against: {error}")))?;
            let (changed, more) = config.schemas.against(&earlier);
            problems = problems.and(more);
            changes = Some(changed);
        }
    }
    let is_fine = problems.errors() == 0 && !(how.deny_warnings && problems.warnings() > 0);
    if how.format == Format::Json {
        let told = Told {
            problems: &problems,
            errors: problems.errors(),
            warnings: problems.warnings(),
            changes: changes.as_deref(),
        };
        let text = serde_json::to_string_pretty(&told).map_err(|error| Failure::Internal(error.to_string()))?;
        say(io::stdout(), &text);
        return if is_fine { Ok(()) } else { Err(Failure::Said(USAGE)) };
    }
    let since = how.against.as_deref().zip(changes.as_deref());
    let since = since.map(|(name, changes)| Since(name, changes));
    let Some(config) = config.filter(|_| is_fine) else {
        since.into_iter().for_each(|since| say(io::stdout(), &since));
        return Err(problems.into());
    };
    if problems.warnings() > 0 {
        say(io::stderr(), &problems);
    }
    let file = match &config.file {
        Some(file) => file.display().to_string(),
        None => "The defaults".to_owned(),
    };
    let folder = config.schemas_folder.display();
    say(
        io::stdout(),
        &format_args!("{file} and {folder} are fine.\n\n{}", Served(&config)),
    );
    since
        .into_iter()
        .for_each(|since| say(io::stdout(), &format_args!("\n{since}")));
    Ok(())
}

impl fmt::Display for Since<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, changes) = self;
        if changes.is_empty() {
            return writeln!(f, "Nothing has changed since {name}.");
        }
        writeln!(f, "Since {name}")?;
        for changed in *changes {
            let level = match changed.level {
                Level::New => "is new",
                Level::Gone => "is gone",
                Level::Major => "is another major version",
                Level::Minor => "is another minor version",
                Level::Patch => "is another patch version",
                Level::Different => "does something else",
            };
            let versions = match (&changed.from, &changed.to) {
                (Some(from), Some(to)) if from != to => format!(" ({from}, now {to})"),
                (Some(from), _) => format!(" ({from})"),
                _ => String::new(),
            };
            writeln!(f, "  {} {level}{versions}", changed.name)?;
            for what in &changed.what {
                writeln!(f, "    {what}")?;
            }
            for (label, apps) in [("works with it", &changed.apps), ("is reached by it", &changed.reached)] {
                if !apps.is_empty() {
                    writeln!(f, "    {label}: {}", apps.join(", "))?;
                }
            }
        }
        Ok(())
    }
}
