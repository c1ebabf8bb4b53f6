//! `chesterfield new-version`

use std::{
    fs,
    io::{self, Write},
};

use chesterfield::config::{Config, NoNext, Overrides};

use super::{Failure, say};

/// Makes the files that begin the next major version of a schema.
pub fn run(overrides: &Overrides, schema: &str, app: Option<&str>) -> Result<(), Failure> {
    let config = Config::load_as_is(overrides)?;
    let files = config.schemas.next_version(&config.schemas_folder, schema, app);
    let files = files.map_err(|error| match error {
        NoNext::Unreadable { .. } => Failure::Unavailable(error.to_string()),
        _ => Failure::Usage(error.to_string()),
    })?;
    if let Some(file) = files.iter().find(|file| file.path.exists()) {
        let what = format!("{} is there already; nothing was made", file.path.display());
        return Err(Failure::CannotMake(what));
    }
    for file in &files {
        let made = || {
            file.path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::File::create_new(&file.path)?.write_all(file.text.as_bytes())
        };
        made().map_err(|error: io::Error| Failure::CannotMake(format!("{}: {error}", file.path.display())))?;
    }
    let [class, lens, manifests @ ..] = &files[..] else {
        return Err(Failure::Internal("there is no class or no lens".to_owned()));
    };
    let made: Vec<String> = files.iter().map(|file| format!("  {}", file.path.display())).collect();
    let manifests = match manifests {
        [] => "no app works with this schema: name it in the `dependencies` of one",
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
            class.path.display(),
            lens.path.display(),
        ),
    );
    Ok(())
}
