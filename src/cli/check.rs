//! `chesterfield check`

use std::io;

use chesterfield::config::{Config, Overrides};

use super::{Failure, say, screen::Served};

/// Loads everything and says what is there.
pub fn run(overrides: &Overrides) -> Result<(), Failure> {
    let config = Config::load(overrides)?;
    let file = match &config.file {
        Some(file) => file.display().to_string(),
        None => "The defaults".to_owned(),
    };
    say(
        io::stdout(),
        &format_args!(
            "{file} and {} are fine.\n\n{}",
            config.schemas_folder.display(),
            Served(&config)
        ),
    );
    Ok(())
}
