//! What is wrong with a configuration, in words for those who wrote it.

use std::{fmt, path::Path};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::schema::{Flaw, Severity};

/// One flaw and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named; or the option or environment variable that said it.
    pub file: String,
    /// What is wrong there.
    pub flaw: Flaw,
}

/// All that is wrong with a configuration, in the order in which it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

/// Collects problems while everything else is still looked at.
#[derive(Debug, Default)]
pub(super) struct Report(Vec<Problem>);

impl Report {
    pub(super) fn add(&mut self, file: impl fmt::Display, flaw: Flaw) {
        let file = file.to_string();
        self.0.push(Problem { file, flaw });
    }

    /// Notes that something is missing, unless it is there and was told to be wrong.
    pub(super) fn add_missing(&mut self, file: &str, flaw: Flaw) {
        let is_told = |problem: &Problem| problem.file == file && problem.flaw.at == flaw.at;
        if !self.0.iter().any(is_told) {
            self.add(file, flaw);
        }
    }

    /// The value of a result, or none after its flaw was noted.
    pub(super) fn take<T>(&mut self, file: impl fmt::Display, result: Result<T, Flaw>) -> Option<T> {
        result.map_err(|flaw| self.add(file, flaw)).ok()
    }

    /// How much could not be read or understood. Where rules are broken, the rest can still be looked at.
    pub(super) fn unreadable(&self) -> usize {
        self.0.iter().filter(|problem| problem.flaw.rule.is_none()).count()
    }

    /// The problems file by file, each file's in the order of their discovery.
    pub(super) fn into_problems(self) -> Problems {
        let folder = |problem: &Problem| Path::new(&problem.file).parent().map(Path::to_owned);
        let mut folders = Vec::new();
        for problem in &self.0 {
            let folder = folder(problem);
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        let mut problems = self.0;
        problems.sort_by_cached_key(|problem| {
            let folder = folder(problem);
            (folders.iter().position(|known| *known == folder), problem.file.clone())
        });
        Problems(problems)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flaw { at, what, mend, rule } = &self.flaw;
        let space = if at.is_empty() { "" } else { " " };
        writeln!(f, "{}{space}{at}", self.file)?;
        let what = what.replace('\n', "\n    ");
        match rule {
            Some(rule) => writeln!(f, "    {}[{}]: {what}", rule.severity(), rule.code())?,
            None => writeln!(f, "    {what}")?,
        }
        writeln!(f, "    mend: {mend}")
    }
}

impl Serialize for Problem {
    /// As `chesterfield check --format json` tells it.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut problem = to.serialize_struct("Problem", 6)?;
        problem.serialize_field("file", &self.file)?;
        problem.serialize_field("at", &self.flaw.at)?;
        problem.serialize_field("severity", &self.flaw.severity())?;
        problem.serialize_field("code", &self.flaw.rule)?;
        problem.serialize_field("what", &self.flaw.what)?;
        problem.serialize_field("mend", &self.flaw.mend)?;
        problem.end()
    }
}

impl Problems {
    /// How many are errors.
    pub fn errors(&self) -> usize {
        let is_error = |problem: &&Problem| problem.flaw.severity() == Severity::Error;
        self.0.iter().filter(is_error).count()
    }

    /// How many are warnings.
    pub fn warnings(&self) -> usize {
        self.0.len() - self.errors()
    }

    /// With others, file by file.
    pub fn and(self, others: impl IntoIterator<Item = Problem>) -> Self {
        Report(self.0.into_iter().chain(others).collect()).into_problems()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        let count = |n: usize, what: &str| match n {
            0 => None,
            1 => Some(format!("1 {what}")),
            many => Some(format!("{many} {what}s")),
        };
        let counts = [count(self.errors(), "problem"), count(self.warnings(), "warning")];
        f.write_str(&counts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// A member's name as a part of a JSON pointer (RFC 6901 3).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
