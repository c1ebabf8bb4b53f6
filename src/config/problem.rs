//! What is wrong with a configuration, in words for those who wrote it.

use std::{fmt, path::Path};

use crate::schema::Flaw;

/// One flaw and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named; or the option or environment variable that said it.
    pub file: String,
    /// What is wrong there.
    pub flaw: Flaw,
}

/// All that is wrong with a configuration: never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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

    pub(super) fn len(&self) -> usize {
        self.0.len()
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
        let Flaw { at, what, mend } = &self.flaw;
        let space = if at.is_empty() { "" } else { " " };
        writeln!(f, "{}{space}{at}", self.file)?;
        writeln!(f, "    {}", what.replace('\n', "\n    "))?;
        writeln!(f, "    mend: {mend}")
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        match self.0.len() {
            1 => write!(f, "1 problem"),
            many => write!(f, "{many} problems"),
        }
    }
}

/// A member's name as a part of a JSON pointer (RFC 6901 3).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
