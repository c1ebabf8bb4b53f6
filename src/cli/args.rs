//! The command line as it is written, and what its options and the environment override.

use std::path::PathBuf;

use chesterfield::{
    config::{Given, Overrides},
    schema::ClassName,
};
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, parser::ValueSource};

/// A migrating reverse proxy for CouchDB.
///
/// Documents live in every supported schema version at once: a write in any version is carried into all others, and
/// each app replicates only the versions it can use.
#[derive(Parser)]
#[command(
    version,
    after_help = "Start with `chesterfield serve`. The README has a tour of five minutes."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Start the proxy, until it is told to stop.
    ///
    /// Reads the configuration and the schemas, says where it listens and what it serves, and passes requests on to the
    /// upstream. It refuses to start on errors that `chesterfield check` finds in the files; warnings are logged. Laws and tests
    /// are not tried.
    ///
    /// SIGTERM and Ctrl-C stop it: open requests may end first (`timeouts: drain`); a second signal does not wait.
    #[command(
        after_long_help = "Exit codes: 0 stopped, 1 stopped by a second signal, 64 the configuration or the command line is wrong, 69 the port \
                                 or the data folder is not to be had, 70 internal error."
    )]
    Serve(Options),
    /// Say everything that is wrong with configuration, schemas, manifests and lenses.
    ///
    /// Each problem comes with its file, its place in the file, what is wrong and how to mend it. The examples beside the
    /// lenses and the tests are run too. Nothing is started, and no database is looked at.
    ///
    /// Warnings are told and do not fail: `serve` starts with them.
    #[command(after_long_help = "Exit codes: 0 all is fine, 64 there are problems, or the command line is wrong.")]
    Check {
        /// For people, or one JSON object for tools.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// Fail on warnings too.
        #[arg(long)]
        deny_warnings: bool,
        /// On how many documents, made from the JSON Schemas, the laws of each lens are tried: the same every time.
        #[arg(long, default_value_t = 100, value_name = "NUMBER")]
        cases: u32,
        /// Say what has changed since an earlier state, which apps it concerns, and what released apps cannot live with.
        #[arg(long, value_name = "FOLDER OR GIT REVISION")]
        against: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Run the examples beside the lenses and the tests of the schemas folder.
    ///
    /// Prints a line for each, and what is not as expected field by field.
    #[command(
        after_long_help = "Exit codes: 0 all hold, 1 some do not, 64 the schemas, the configuration or the command line is wrong, or there is no \
                                 such test."
    )]
    Test {
        /// Run only those whose file or name contains one of these texts.
        #[arg(value_name = "TEXT")]
        only: Vec<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Show what becomes of a document in another version.
    ///
    /// Reads documents from standard input (one, several, or a list), writes them as clients of version FROM would, and
    /// prints what is then there in version TO, a document a line: `chesterfield transform todo-item@1 todo-item@3 < doc.json`.
    ///
    /// Where a version has its data in several documents, give all of them: a document says by its `_id`, or by `schema` and
    /// `version`, what it is; one that says nothing is taken for FROM.
    #[command(
        after_long_help = "Exit codes: 0 done, 64 the schemas, the configuration or the command line is wrong, 65 a document is none, or no lens can carry it."
    )]
    Transform {
        /// The class of the documents, as in `todo-item@1`.
        from: ClassName,
        /// The class to show; without it, every class that is reached.
        to: Option<ClassName>,
        /// A file with documents that are there before: what only they know stays.
        #[arg(long, value_name = "FILE")]
        existing: Option<PathBuf>,
        #[command(flatten)]
        options: Options,
    },
    /// Begin the next major version of schemas: class, lens with an example, and manifest.
    ///
    /// Copies the newest class and the manifests of the apps that work with it, raises their versions, and adds a lens
    /// between old and new. However many schemas are named, an app gets one new version. Nothing that exists is changed or overwritten, and the result passes `check` as it is.
    #[command(
        after_long_help = "Exit codes: 0 done, 64 the schemas, the configuration or the command line is wrong, 73 a file is there already or cannot be \
                                 written."
    )]
    NewVersion {
        /// The schema, as in `todo-item`; several for a new version of an app that changes them all.
        #[arg(required = true, value_name = "SCHEMA")]
        schema: Vec<String>,
        /// Only this app gets a new manifest; without it, every app whose newest version works with a newest class.
        #[arg(long, value_name = "NAME")]
        app: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Bring everything that databases hold in step, now and as fast as it goes.
    ///
    /// Proxies carry what is written through them, and follow the databases to make up for the rest: what was there before, what was
    /// written past them, what a crash left undone, new and changed classes (`follower` in the configuration). This does so
    /// without waiting, and where nobody follows. What is interrupted goes on where it was when it is called again, and so does a
    /// proxy that follows. Running it twice, or beside proxies, does no harm.
    #[command(
        after_long_help = "Exit codes: 0 done, 64 the configuration or the command line is wrong, 69 a database is not to be had."
    )]
    Backfill {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        options: Options,
    },
    /// Try parked documents again, without waiting for the end of their pause.
    ///
    /// What no lens can carry, and what the upstream refuses, is parked in the database `chesterfield`. Once the document, the lens or
    /// the upstream's rule is mended, this carries it. Prints a line for each with what became of it.
    #[command(
        after_long_help = "Exit codes: 0 nothing of it is parked any more, 1 some stays parked, 64 the configuration or the command line is wrong, 69 \
                                 the upstream is not to be had."
    )]
    Retry {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        options: Options,
    },
    /// Say how far databases have been followed, and what could not be brought in step.
    ///
    /// For each database: the changes that nobody has read yet; classes that are new or have changed, and how far their documents
    /// have been made up for; entities that are parked, and those that cannot be read or written at all.
    ///
    /// With --entities every entity is read, a page at a time, which takes about as long as a backfill with nothing to do. Then it
    /// says, too, of how many a document is in conflict (more than one of its leaves is live, in whichever version), how many wait for a
    /// document that a lens needs, how many have an edit that no lens can carry, and how many lack a revision.
    #[command(
        after_long_help = "Exit codes: 0 done, 64 the configuration or the command line is wrong, 69 a database is not to be had."
    )]
    Status {
        #[command(flatten)]
        which: Which,
        /// For people, or one JSON object a line for tools.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// Read every entity.
        #[arg(long)]
        entities: bool,
        #[command(flatten)]
        options: Options,
    },
}

/// Which databases.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// The databases.
    #[arg(value_name = "DATABASE")]
    pub databases: Vec<String>,
    /// Every database that `databases` in the configuration names.
    #[arg(long)]
    pub all: bool,
}

/// How problems are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

impl Command {
    fn options(&self) -> &Options {
        match self {
            Self::Serve(options)
            | Self::Check { options, .. }
            | Self::Backfill { options, .. }
            | Self::Retry { options, .. }
            | Self::Status { options, .. }
            | Self::Test { options, .. }
            | Self::Transform { options, .. }
            | Self::NewVersion { options, .. } => options,
        }
    }
}

/// Options take precedence over the environment, and the environment over the configuration file.
#[derive(Args)]
pub struct Options {
    /// The configuration file. Without one, `config.yaml` is read if it is there, else every option has its default.
    #[arg(long, env = "CHESTERFIELD_CONFIG", hide_env_values = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder with `classes`, `lenses` and `apps` [default: `schemas` beside the configuration file]
    #[arg(long, env = "CHESTERFIELD_SCHEMAS", hide_env_values = true, value_name = "FOLDER")]
    schemas: Option<PathBuf>,
    /// Where clients connect: an IP address and a port [default: 127.0.0.1:5985]
    #[arg(long, env = "CHESTERFIELD_LISTEN", hide_env_values = true, value_name = "ADDRESS")]
    listen: Option<String>,
    /// What stands behind the proxy: `embedded`, or a CouchDB as in http://user:password@host:5984 [default: embedded]
    ///
    /// Everybody on this machine can see a password on a command line: the variable is the better place.
    #[arg(long, env = "CHESTERFIELD_UPSTREAM", hide_env_values = true, value_name = "URL")]
    upstream: Option<String>,
    /// Where the embedded upstream keeps its files [default: `data` beside the configuration file]
    #[arg(long, env = "CHESTERFIELD_DATA", hide_env_values = true, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

/// Reads the command line and the environment.
pub fn parse() -> Result<(Command, Overrides), clap::Error> {
    let matches = Cli::command().try_get_matches()?;
    let command = Cli::from_arg_matches(&matches)?.command;
    let overrides = match matches.subcommand() {
        Some((_, matches)) => command.options().overrides(matches),
        None => Overrides::default(),
    };
    Ok((command, overrides))
}

impl Options {
    fn overrides(&self, matches: &ArgMatches) -> Overrides {
        let by = |name: &str| match matches.value_source(name) {
            Some(ValueSource::EnvVariable) => format!("CHESTERFIELD_{}", name.to_uppercase()),
            _ => format!("--{name}"),
        };
        // An empty variable is how some tools spell one that is not set.
        let path = |name: &str, path: &Option<PathBuf>| {
            let value = path.clone().filter(|path| !path.as_os_str().is_empty())?;
            Some(Given { value, by: by(name) })
        };
        let text = |name: &str, text: &Option<String>| {
            let value = text.clone().filter(|text| !text.is_empty())?;
            Some(Given { value, by: by(name) })
        };
        Overrides {
            config: path("config", &self.config),
            listen: text("listen", &self.listen),
            upstream: text("upstream", &self.upstream),
            data: path("data", &self.data),
            schemas: path("schemas", &self.schemas),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
