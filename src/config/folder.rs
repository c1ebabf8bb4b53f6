//! The files of a folder, each read into a value or into its flaws.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use super::{problem::Report, read::Form};
use crate::schema::Flaw;

/// A file that was found.
#[derive(Clone, Debug)]
pub(super) struct Source<T> {
    /// As it is named in problems.
    pub(super) file: String,
    /// Its name without the extension.
    pub(super) stem: String,
    /// What it holds; none if that has flaws, which are told.
    pub(super) value: Option<T>,
}

/// Reads one file.
pub(super) fn read_file<T: DeserializeOwned>(path: &Path, form: Form, report: &mut Report) -> Option<T> {
    let file = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            report.add(file, unreadable(&error, "make it readable, or name another one"));
            return None;
        }
    };
    form.read(&text)
        .map_err(|flaws| flaws.into_iter().for_each(|flaw| report.add(file.to_string(), flaw)))
        .ok()
}

/// Reads every file of a folder, in the order of their names. A folder that is not there has none.
pub(super) fn read_files<T: DeserializeOwned>(folder: &Path, form: Form, report: &mut Report) -> Vec<Source<T>> {
    let extensions: &[&str] = match form {
        Form::Json => &["json"],
        Form::Yaml => &["yaml", "yml"],
    };
    let mut sources = Vec::new();
    for path in paths(folder, report) {
        let file = path.display().to_string();
        if path
            .extension()
            .is_none_or(|e| !extensions.iter().any(|known| e == *known))
        {
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
        let value = read_file(&path, form, report);
        sources.push(Source { file, stem, value });
    }
    sources
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
