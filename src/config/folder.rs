//! The files of a folder, each read into a value or into its flaws.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    problem::Report,
    read::{Form, Read},
};
use crate::schema::Flaw;

/// A file that was found.
#[derive(Clone, Debug)]
pub(super) struct Source<T> {
    /// As it is named in problems.
    pub(super) file: String,
    /// Its name without the extension.
    pub(super) stem: String,
    /// What was understood of it; none if that is too little.
    pub(super) value: Option<T>,
    /// What is written, whatever of it was understood; null if that is nothing.
    pub(super) written: Value,
    /// Its form has flaws, which are told.
    pub(super) is_flawed: bool,
}

/// Reads one file.
pub(super) fn read_file<T: DeserializeOwned>(path: &Path, form: Form, report: &mut Report) -> Option<T> {
    read(path, form, report).value
}

fn read<T: DeserializeOwned>(path: &Path, form: Form, report: &mut Report) -> Read<T> {
    let file = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            report.add(file, unreadable(&error, "make it readable, or name another one"));
            return Read::default();
        }
    };
    let mut read = form.read(&text);
    read.flaws.drain(..).for_each(|flaw| report.add(&file, flaw));
    read
}

/// Reads every file of a folder, in the order of their names. A folder that is not there has none. `beside`: the extensions of what
/// may stand there for these files to name.
pub(super) fn read_files<T: DeserializeOwned>(
    folder: &Path,
    form: Form,
    beside: &[&str],
    report: &mut Report,
) -> Vec<Source<T>> {
    let extensions: &[&str] = match form {
        Form::Json => &["json"],
        Form::Yaml => &["yaml", "yml"],
    };
    let mut sources = Vec::new();
    for path in paths(folder, report) {
        let file = path.display().to_string();
        let is_any = |known: &[&str]| path.extension().is_some_and(|e| known.iter().any(|known| e == *known));
        if is_any(beside) {
            continue;
        }
        if !is_any(extensions) {
            report.add(
                file,
                Flaw::new(
                    "",
                    format!("is no .{} file, and nothing else belongs here", extensions[0]),
                    "rename it, or move it elsewhere",
                ),
            );
            continue;
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let told = report.unreadable();
        let Read { value, written, .. } = read(&path, form, report);
        let is_flawed = report.unreadable() > told;
        sources.push(Source {
            file,
            stem,
            value,
            written,
            is_flawed,
        });
    }
    sources
}

/// The text of a file below a folder, wherever links lead, or why it cannot be had.
pub(super) fn read_within(folder: &Path, file: &str) -> Result<String, String> {
    let told = |error: io::Error| error.to_string();
    let path = folder.join(file).canonicalize().map_err(told)?;
    if !path.starts_with(folder.canonicalize().map_err(told)?) {
        return Err("it is outside of the folder of schemas".to_owned());
    }
    fs::read_to_string(path).map_err(told)
}

/// What is in a folder, without what is meant for people and editors.
pub(super) fn paths(folder: &Path, report: &mut Report) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).and_then(|entries| {
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths.collect::<Result<Vec<_>, _>>()
    });
    let mut paths = match entries {
        Ok(paths) => paths,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let flaw = unreadable(&error, "make it a readable folder");
            report.add(folder.display(), flaw);
            Vec::new()
        }
    };
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !(name.starts_with('.') || name.ends_with('~') || name.ends_with(".md"))
    });
    paths.sort();
    paths
}

pub(super) fn unreadable(error: &io::Error, mend: &str) -> Flaw {
    Flaw::new("", format!("cannot be read: {error}"), mend)
}
