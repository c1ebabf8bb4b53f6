//! The commands, their options and their exit codes.

mod args;
mod check;
mod log;
mod reconcile;
mod screen;
mod serve;

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use chesterfield::config::Problems;

/// Why a command failed, and so its exit code: the numbers of BSD's `sysexits.h`.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// 64: the configuration is wrong.
    #[error("{0}")]
    Config(#[from] Problems),
    /// 69: something outside, like a port or a folder, is not to be had.
    #[error("{0}")]
    Unavailable(String),
    /// 70: this should not happen.
    #[error("internal error: {0}")]
    Internal(String),
}

/// A wrong command line, as a wrong configuration.
const USAGE: u8 = 64;

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Config(_) => USAGE,
            Failure::Unavailable(_) => 69,
            Failure::Internal(_) => 70,
        }
    }
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    let (command, overrides) = match args::parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version come this way too, and go to stdout.
            let is_mistake = error.use_stderr();
            let _ = error.print();
            return ExitCode::from(if is_mistake { USAGE } else { 0 });
        }
    };
    let done = match command {
        args::Command::Serve(_) => serve::run(&overrides),
        args::Command::Check(_) => check::run(&overrides),
        args::Command::Reconcile { databases, .. } => reconcile::run(&overrides, &databases),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(io::stderr(), &failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Writes for people, whole lines. Nobody listening is no reason to stop.
fn say(mut to: impl Write, text: &impl Display) {
    let _ = writeln!(to, "{}", text.to_string().trim_end()).and_then(|()| to.flush());
}
