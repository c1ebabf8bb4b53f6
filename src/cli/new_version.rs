//! `chesterfield new-version`

use std::{
    fs,
    io::{self, Write},
};

use chesterfield::config::{Config, NewFile, Next, NoNext, Overrides};

use super::{Failure, say};

/// Makes the files that begin the next major version of schemas.
pub fn run(overrides: &Overrides, schemas: &[String], app: Option<&str>) -> Result<(), Failure> {
    let config = Config::load_as_is(overrides)?;
    let next = config.schemas.next_version(&config.schemas_folder, schemas, app);
    let Next {
        classes,
        lenses,
        manifests,
    } = next.map_err(|error| match error {
        NoNext::Unreadable { .. } => Failure::Unavailable(error.to_string()),
        _ => Failure::Usage(error.to_string()),
    })?;
    let files = || classes.iter().chain(&lenses).chain(&manifests);
    if let Some(file) = files().find(|file| file.path.exists()) {
        let what = format!("{} is there already; nothing was made", file.path.display());
        return Err(Failure::CannotMake(what));
    }
    for file in files() {
        let made = || {
            file.path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::File::create_new(&file.path)?.write_all(file.text.as_bytes())
        };
        made().map_err(|error: io::Error| Failure::CannotMake(format!("{}: {error}", file.path.display())))?;
    }
    let made: Vec<String> = files().map(|file| format!("  {}", file.path.display())).collect();
    let manifests = match manifests[..] {
        [] => "no app works with it: name it in the `dependencies` of one",
        _ => "see that the new manifests name what the new app works with",
    };
    say(
        io::stdout(),
        &format_args!(
            "Made\n{}\n\nNext
  1. change {} to what the new version needs
  2. say in {} what becomes of old documents, and show it by examples
  3. {manifests}
  4. chesterfield test, and chesterfield check",
            made.join("\n"),
            named(&classes),
            named(&lenses),
        ),
    );
    Ok(())
}

/// The paths of files, in a sentence.
fn named(files: &[NewFile]) -> String {
    let paths: Vec<String> = files.iter().map(|file| file.path.display().to_string()).collect();
    paths.join(" and ")
}
