//! From what is written to what is meant.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tracing::level_filters::LevelFilter;

use super::{
    Config, Given, Log, LogFormat, Overrides, Problems, UpstreamConfig,
    folder::read_file,
    problem::Report,
    raw::{ConfigFile, LimitsFile, LogFile, ParkedFile, ScriptLimitsFile, TimeoutsFile},
    read::Form,
    schemas,
};
use crate::{
    parked::Pauses,
    proxy::{self, Databases, writes::Limits},
    schema::Flaw,
    script, upstream,
};

const FILE: &str = "config.yaml";
const LISTEN: &str = "127.0.0.1:5985";
const HEADER: &str = "App-Version";
const EMBEDDED: &str = "embedded";
const DATA: &str = "data";
const SCHEMAS: &str = "schemas";

/// Reads and checks everything; whatever is wrong, all else is looked at too. Nothing is configured only where something
/// cannot be read or understood.
pub(super) fn load(overrides: &Overrides) -> (Option<Config>, Problems) {
    let mut report = Report::default();
    let (path, file) = read(overrides.config.as_ref(), &mut report);
    let mut settings = Settings {
        folder: path.as_deref().and_then(Path::parent).unwrap_or(Path::new("")),
        file: path.as_deref().unwrap_or(Path::new(FILE)).display().to_string(),
        report: &mut report,
    };
    let listen = settings.address("/listen", overrides.listen.as_ref(), file.listen, Some(LISTEN));
    let metrics = settings.address("/metrics", None, file.metrics, None);
    let timeouts = settings.timeouts(file.timeouts.unwrap_or_default());
    let limits = file.limits.unwrap_or_default();
    let script_limits = settings.script_limits(limits.script.as_ref());
    let headers = settings.headers(limits.headers);
    let limits = settings.limits(&limits, timeouts.fan_out);
    let pauses = settings.pauses(&file.parked.unwrap_or_default());
    let data = settings.folder(overrides.data.as_ref(), file.data, DATA);
    let upstream = settings.upstream(overrides.upstream.as_ref(), file.upstream, data, timeouts.upstream);
    let log = settings.log(&file.log.unwrap_or_default());
    let databases = file.databases.unwrap_or_else(|| vec!["*".to_owned()]);
    let patterns = settings.databases("/databases", &databases);
    let schemas_folder = settings.folder(overrides.schemas.as_ref(), file.schemas, SCHEMAS);
    let schemas = schemas::load(
        &schemas_folder,
        file.scope.unwrap_or_default(),
        script_limits,
        settings.report,
    );
    let apps = schemas.as_ref().map(|schemas| &schemas.apps);
    let registry = schemas.as_ref().map(|schemas| &*schemas.registry);
    let validate = settings.validate(file.validate, registry);
    let app_version = file.app_version.unwrap_or_default();
    let header = app_version.header.unwrap_or_else(|| HEADER.to_owned());
    let version_header = settings.header("/app-version/header", &header);
    let undeclared = settings.undeclared(app_version.undeclared, apps);
    let retirement = settings.retirement(&app_version.retired.unwrap_or_default());
    let cors = settings.cors(file.cors.unwrap_or_default());
    let changes = settings.changes(file.changes.as_deref());
    let followed = patterns.clone().unwrap_or_default();
    let follower = settings.follower(file.follower, followed, &databases, timeouts.proxy.drain);
    let config = match (
        listen,
        upstream,
        log,
        patterns,
        schemas,
        version_header,
        undeclared,
        changes,
        validate,
    ) {
        (
            Some(listen),
            Some(upstream),
            Some(log),
            Some(patterns),
            Some(schemas),
            Some(version_header),
            Some((undeclared_in, undeclared)),
            Some(changes),
            Some(validate),
        ) if report.unreadable() == 0 => Some(Config {
            file: path,
            listen,
            upstream,
            proxy: proxy::Settings {
                version_header,
                undeclared,
                undeclared_in,
                retirement,
                databases: patterns,
                apps: schemas.apps.clone(),
                timeouts: timeouts.proxy,
                headers,
                cors,
                changes,
                ..proxy::Settings::default()
            },
            header,
            databases,
            limits,
            validate,
            pauses,
            follower,
            log,
            metrics,
            schemas_folder,
            schemas,
        }),
        _ => None,
    };
    (config, report.into_problems())
}

/// The file and what it says. One that nobody asked for need not be there.
fn read(given: Option<&Given<PathBuf>>, report: &mut Report) -> (Option<PathBuf>, ConfigFile) {
    let path = match given {
        Some(given) => given.value.clone(),
        None if Path::new(FILE).exists() => FILE.into(),
        None => return (None, ConfigFile::default()),
    };
    let file = read_file(&path, Form::Yaml, report).unwrap_or_default();
    (Some(path), file)
}

/// What compiles the file's settings.
pub(super) struct Settings<'a> {
    /// The file's folder, where its relative paths begin.
    folder: &'a Path,
    file: String,
    report: &'a mut Report,
}

struct Timeouts {
    upstream: upstream::Timeouts,
    proxy: proxy::Timeouts,
    fan_out: Duration,
}

impl Settings<'_> {
    pub(super) fn flaw(&mut self, at: &str, what: impl Into<String>, mend: impl Into<String>) {
        self.report.add(&self.file, Flaw::new(at, what, mend));
    }

    /// Notes a flaw where its value was given: in the file, or by an option or a variable.
    fn flaw_of<T>(&mut self, at: &str, given: Option<&Given<T>>, what: String, mend: &str) {
        match given {
            Some(given) => self.report.add(&given.by, Flaw::new("", what, mend)),
            None => self.flaw(at, what, mend),
        }
    }

    fn address(
        &mut self,
        at: &str,
        given: Option<&Given<String>>,
        written: Option<String>,
        default: Option<&str>,
    ) -> Option<SocketAddr> {
        let text = given.map(|given| given.value.clone()).or(written);
        let text = text.or(default.map(str::to_owned))?;
        let address = text.parse().ok();
        if address.is_none() {
            let mend = "write an IP address and a port, as in `127.0.0.1:5985`, `0.0.0.0:5985` or `[::1]:5985`";
            self.flaw_of(at, given, format!("`{text}` is no address to listen on"), mend);
        }
        address
    }

    /// Paths in the file begin in its folder, those of options and variables where the process runs.
    fn folder(&self, given: Option<&Given<PathBuf>>, written: Option<PathBuf>, default: &str) -> PathBuf {
        match given {
            Some(given) => given.value.clone(),
            None => self.folder.join(written.unwrap_or_else(|| default.into())),
        }
    }

    /// The URL is never shown: it may hold a password.
    fn upstream(
        &mut self,
        given: Option<&Given<String>>,
        written: Option<String>,
        data: PathBuf,
        timeouts: upstream::Timeouts,
    ) -> Option<UpstreamConfig> {
        let text = given.map(|given| given.value.clone()).or(written);
        let text = text.unwrap_or_else(|| EMBEDDED.to_owned());
        if text == EMBEDDED {
            return Some(UpstreamConfig::Embedded(data));
        }
        match upstream::http(&text, timeouts) {
            Ok(upstream) => Some(UpstreamConfig::Http(upstream)),
            Err(error) => {
                let mend = "write `embedded`, or the URL of a CouchDB as in `http://user:password@127.0.0.1:5984`";
                self.flaw_of("/upstream", given, error.to_string(), mend);
                None
            }
        }
    }

    fn timeouts(&mut self, file: TimeoutsFile) -> Timeouts {
        let (upstream, proxy) = (upstream::Timeouts::default(), proxy::Timeouts::default());
        let mut duration = |name: &str, text: Option<String>, default: Duration| {
            self.duration(&format!("/timeouts/{name}"), text.as_deref(), default)
        };
        Timeouts {
            upstream: upstream::Timeouts {
                connect: duration("connect", file.connect, upstream.connect),
                idle: duration("idle", file.idle, upstream.idle),
            },
            fan_out: duration("fan-out", file.fan_out, Limits::default().patience),
            proxy: proxy::Timeouts {
                head: duration("head", file.head, proxy.head),
                body: duration("body", file.body, proxy.body),
                drain: duration("drain", file.drain, proxy.drain),
            },
        }
    }

    /// What each call of a script may take.
    fn script_limits(&mut self, file: Option<&ScriptLimitsFile>) -> script::Limits {
        let default = script::Limits::default();
        let Some(file) = file else { return default };
        script::Limits {
            time: self.duration("/limits/script/time", file.time.as_deref(), default.time),
            memory: self.size("/limits/script/memory", file.memory.as_deref(), default.memory),
        }
    }

    pub(super) fn duration(&mut self, at: &str, text: Option<&str>, default: Duration) -> Duration {
        let Some(text) = text else { return default };
        parse_duration(text).unwrap_or_else(|| {
            let mend = "write a number above zero and its unit, as in `500ms`, `10s`, `5m` or `1h`";
            self.flaw(at, format!("`{text}` is no duration"), mend);
            default
        })
    }

    fn size(&mut self, at: &str, text: Option<&str>, default: usize) -> usize {
        let Some(text) = text else { return default };
        parse_size(text).unwrap_or_else(|| {
            let mend = "write a number above zero and its unit, as in `512kB`, `64MB` or `1GB`";
            self.flaw(at, format!("`{text}` is no size"), mend);
            default
        })
    }

    fn headers(&mut self, given: Option<u16>) -> usize {
        let given = given.map_or(proxy::Settings::default().headers, usize::from);
        if given == 0 {
            let mend = "write a number above zero, as in `100`";
            self.flaw("/limits/headers", "no request would be taken".to_owned(), mend);
        }
        given
    }

    fn limits(&mut self, file: &LimitsFile, patience: Duration) -> Limits {
        let default = Limits::default();
        let mut size = |name: &str, text: &Option<String>, default: usize| {
            self.size(&format!("/limits/{name}"), text.as_deref(), default)
        };
        Limits {
            body: size("body", &file.body, default.body),
            held: size("held", &file.held, default.held),
            patience,
        }
    }

    fn pauses(&mut self, file: &ParkedFile) -> Pauses {
        let default = Pauses::default();
        let pauses = Pauses {
            first: self.duration("/parked/first", file.first.as_deref(), default.first),
            longest: self.duration("/parked/longest", file.longest.as_deref(), default.longest),
        };
        if pauses.longest < pauses.first {
            let what = "is shorter than the first pause";
            self.flaw("/parked/longest", what, "make it longer: pauses grow up to it");
        }
        pauses
    }

    fn log(&mut self, file: &LogFile) -> Option<Log> {
        let format = match file.format.as_deref() {
            None | Some("text") => Some(LogFormat::Text),
            Some("json") => Some(LogFormat::Json),
            Some(other) => {
                let what = format!("there is no log format `{other}`");
                self.flaw("/log/format", what, "write `text` or `json`");
                None
            }
        };
        let level = file.level.as_deref().unwrap_or("info");
        let level: Option<LevelFilter> = match level.parse() {
            Ok(level) => Some(level),
            Err(_) => {
                let what = format!("there is no log level `{level}`");
                self.flaw(
                    "/log/level",
                    what,
                    "write `off`, `error`, `warn`, `info`, `debug` or `trace`",
                );
                None
            }
        };
        Some(Log {
            format: format?,
            level: level?,
        })
    }

    pub(super) fn databases(&mut self, at: &str, patterns: &[String]) -> Option<Databases> {
        match Databases::new(patterns) {
            Ok(databases) => Some(databases),
            Err(error) => {
                self.flaw(at, error.to_string(), "write fewer patterns, or shorter ones");
                None
            }
        }
    }
}

/// A whole number and its unit.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    match unit.trim() {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

/// A whole number and its unit, in powers of 1024.
fn parse_size(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().ok().filter(|number| *number > 0)?;
    let shift = match unit.trim() {
        "kB" | "KB" => 10,
        "MB" => 20,
        "GB" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("64MB"), Some(64 << 20));
        assert_eq!(parse_size("1 GB"), Some(1 << 30));
        assert_eq!(parse_size("512kB"), Some(512 << 10));
        for text in [
            "64",
            "0MB",
            "-1MB",
            "1.5GB",
            "64 megabytes",
            "99999999999999999999GB",
            "18014398509481984GB",
            "",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("10 s"), Some(Duration::from_secs(10)));
        assert_eq!(parse_duration("2h"), Some(Duration::from_secs(7200)));
        for text in ["10", "s", "0s", "-1s", "1.5s", "10 seconds", ""] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
