//! The commands, their options and their exit codes.

mod args;
mod backfill;
mod check;
mod log;
mod new_version;
mod retry;
mod screen;
mod serve;
mod status;
mod test;
mod transform;

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
    /// 1 or 64: what is wrong was said already.
    #[error("")]
    Said(u8),
    /// 64: the command line names what is not there.
    #[error("{0}")]
    Usage(String),
    /// 65: what was read is no document, or none that can be carried.
    #[error("{0}")]
    Data(String),
    /// 73: a file cannot be made.
    #[error("{0}")]
    CannotMake(String),
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
            Failure::Config(_) | Failure::Usage(_) => USAGE,
            Failure::Said(code) => *code,
            Failure::Data(_) => 65,
            Failure::CannotMake(_) => 73,
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
        args::Command::Check {
            format,
            deny_warnings,
            cases,
            against,
            ..
        } => check::run(
            &overrides,
            &check::How {
                format,
                deny_warnings,
                cases,
                against,
            },
        ),
        args::Command::Test { only, .. } => test::run(&overrides, &only),
        args::Command::Transform { from, to, existing, .. } => {
            transform::run(&overrides, &from, to.as_ref(), existing.as_deref())
        }
        args::Command::NewVersion { schema, app, .. } => new_version::run(&overrides, &schema, app.as_deref()),
        args::Command::Retry { which, .. } => retry::run(&overrides, which),
        args::Command::Backfill { which, .. } => backfill::run(&overrides, which),
        args::Command::Status {
            which,
            format,
            entities,
            ..
        } => status::run(&overrides, which, format, entities),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Said(_)) {
                say(io::stderr(), &failure);
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Writes for people, whole lines. Nobody listening is no reason to stop.
fn say(mut to: impl Write, text: &impl Display) {
    let _ = writeln!(to, "{}", text.to_string().trim_end()).and_then(|()| to.flush());
}
