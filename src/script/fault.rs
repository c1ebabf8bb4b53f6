//! What goes wrong in a script, in words for those who wrote it.

use super::{FileFlaw, Inner, Place};

/// A script has failed: nothing is carried until the document or the script changes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", self.place())]
pub struct Fault {
    /// What went wrong. It may hold values of documents: it is for `check` and the like, not for logs.
    pub what: String,
    /// The file, as it is named within the folder of schemas.
    pub file: String,
    /// Where in it, if that is known.
    pub at: Option<Place>,
    /// `file:line:column`
    place: String,
}

impl Fault {
    /// A fault of a script as a whole.
    pub(super) fn of(script: &Inner, what: impl Into<String>) -> Self {
        let file = script.modules.last().map(|module| module.file.clone());
        Self::at(file.unwrap_or_default(), None, what)
    }

    pub(super) fn at(file: String, at: Option<Place>, what: impl Into<String>) -> Self {
        let place = at.map_or_else(|| file.clone(), |at| format!("{file}:{at}"));
        let what = what.into();
        Self { what, file, at, place }
    }

    /// A fault with the innermost place of a stack trace that is in the script's own files.
    pub(super) fn traced(script: &Inner, stack: &str, what: impl Into<String>) -> Self {
        let what = what.into();
        stack.lines().find_map(|frame| placed(script, frame)).map_or_else(
            || Self::of(script, what.clone()),
            |(file, at)| Self::at(file, Some(at), what.clone()),
        )
    }

    /// `file:line:column`, or the file alone.
    pub fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn into_flaw(self) -> FileFlaw {
        FileFlaw::new(&self.file, self.at, self.what, "mend the script")
    }
}

/// Reads `    at name (file:line:column)`.
fn placed(script: &Inner, frame: &str) -> Option<(String, Place)> {
    let frame = frame.trim().trim_start_matches("at ").trim_end_matches(')');
    let mut parts = frame.rsplitn(3, ':');
    let (column, line, rest) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
    let module = script.modules.iter().find(|module| {
        let before = rest.strip_suffix(module.file.as_str());
        before.is_some_and(|before| before.is_empty() || before.ends_with('('))
    })?;
    let head = if line == 1 { module.head } else { 0 };
    let column = usize::saturating_sub(column, head).max(1);
    Some((module.file.clone(), Place { line, column }))
}
