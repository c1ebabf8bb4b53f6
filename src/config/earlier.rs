//! An earlier state of the schemas: a folder, or what a git revision holds of this one.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{Problems, Schemas, problem::Report, schemas};
use crate::{schema::Scope, script};

/// Schemas as they were.
#[derive(Debug)]
pub struct Earlier {
    /// As it was named.
    pub name: String,
    /// What stood there.
    pub schemas: Schemas,
    /// Where the files lie meanwhile.
    _folder: Option<TempDir>,
}

/// Why there is nothing to compare with.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum NoEarlier {
    #[error("`{0}` is no folder, and git knows no such revision here")]
    Unknown(String),
    #[error("{revision} has no schemas in {folder}")]
    Empty { revision: String, folder: String },
    #[error("{name} cannot be read:\n{problems}")]
    Broken { name: String, problems: Problems },
    #[error("git: {0}")]
    Git(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Earlier {
    /// The state called `name`: a folder, else a git revision of `folder`. Rules may be broken there.
    pub fn load(name: &str, folder: &Path) -> Result<Self, NoEarlier> {
        let (root, kept) = if Path::new(name).is_dir() {
            (PathBuf::from(name), None)
        } else {
            let kept = of_revision(name, folder)?;
            (kept.path().to_owned(), Some(kept))
        };
        let mut report = Report::default();
        let schemas = schemas::load(&root, Scope::default(), script::Limits::default(), &mut report);
        match schemas {
            Some(schemas) => Ok(Self {
                name: name.to_owned(),
                schemas,
                _folder: kept,
            }),
            None => Err(NoEarlier::Broken {
                name: name.to_owned(),
                problems: report.into_problems(),
            }),
        }
    }
}

/// The files of a folder as a revision has them.
fn of_revision(revision: &str, folder: &Path) -> Result<TempDir, NoEarlier> {
    let commit = format!("{revision}^{{commit}}");
    let commit = git(
        folder,
        &["rev-parse", "--verify", "--quiet", "--end-of-options", &commit],
    )
    .map_err(|_| NoEarlier::Unknown(revision.to_owned()))?;
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    let listed = git(folder, &["ls-tree", "-r", "-z", "--name-only", &commit, "."])?;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let kept = tempfile::tempdir()?;
    for file in listed.split('\0').filter(|file| !file.is_empty()) {
        let path = kept.path().join(file);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, git(folder, &["show", &format!("{commit}:./{file}")])?)?;
    }
    if listed.is_empty() {
        return Err(NoEarlier::Empty {
            revision: revision.to_owned(),
            folder: folder.display().to_string(),
        });
    }
    Ok(kept)
}

fn git(folder: &Path, arguments: &[&str]) -> Result<Vec<u8>, NoEarlier> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output();
    let output = output.map_err(|error| NoEarlier::Git(format!("cannot be run: {error}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(NoEarlier::Git(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}
