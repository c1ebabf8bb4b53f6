//! From what is written to what is meant.

use std::{
    collections::HashSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{HeaderName, StatusCode};
use tracing::level_filters::LevelFilter;

use super::{
    Config, Given, Log, LogFormat, Overrides, Problems, UpstreamConfig,
    folder::read_file,
    problem::{Report, escaped},
    raw::{ConfigFile, CorsFile, LogFile, RetiredFile, TimeoutsFile, UndeclaredFile},
    read::Form,
    schemas,
};
use crate::{
    proxy::{self, Cors, Databases, Origin, Origins, Retirement, Undeclared},
    schema::{AppVersion, Apps, Flaw, manifest::InvalidAppVersion},
    upstream,
};

const FILE: &str = "config.yaml";
const LISTEN: &str = "127.0.0.1:5985";
const HEADER: &str = "App-Version";
const EMBEDDED: &str = "embedded";
const DATA: &str = "data";
const SCHEMAS: &str = "schemas";
const FAN_OUT: Duration = Duration::from_secs(30);

/// Reads and checks everything; whatever is wrong, all else is looked at too.
pub(super) fn load(overrides: &Overrides) -> Result<Config, Problems> {
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
    let data = settings.folder(overrides.data.as_ref(), file.data, DATA);
    let upstream = settings.upstream(overrides.upstream.as_ref(), file.upstream, data, timeouts.upstream);
    let log = settings.log(&file.log.unwrap_or_default());
    let databases = file.databases.unwrap_or_else(|| vec!["*".to_owned()]);
    let patterns = settings.databases("/databases", &databases);
    let schemas_folder = settings.folder(overrides.schemas.as_ref(), file.schemas, SCHEMAS);
    let schemas = schemas::load(&schemas_folder, settings.report);
    let apps = schemas.as_ref().map(|schemas| &schemas.apps);
    let app_version = file.app_version.unwrap_or_default();
    let header = app_version.header.unwrap_or_else(|| HEADER.to_owned());
    let version_header = settings.header("/app-version/header", &header);
    let undeclared = settings.undeclared(app_version.undeclared, apps);
    let retirement = settings.retirement(&app_version.retired.unwrap_or_default());
    let cors = settings.cors(file.cors.unwrap_or_default());
    match (listen, upstream, log, patterns, schemas, version_header, undeclared) {
        (
            Some(listen),
            Some(upstream),
            Some(log),
            Some(patterns),
            Some(schemas),
            Some(version_header),
            Some((undeclared_in, undeclared)),
        ) if report.len() == 0 => Ok(Config {
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
                cors,
                ..proxy::Settings::default()
            },
            header,
            databases,
            fan_out: timeouts.fan_out,
            log,
            metrics,
            schemas_folder,
            schemas,
        }),
        _ => Err(report.into_problems()),
    }
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
struct Settings<'a> {
    /// The file's folder, where its relative paths begin.
    folder: &'a Path,
    file: String,
    report: &'a mut Report,
}

/// By database, and in all others.
type Fallbacks = (Vec<(Databases, Undeclared)>, Undeclared);

struct Timeouts {
    upstream: upstream::Timeouts,
    proxy: proxy::Timeouts,
    fan_out: Duration,
}

impl Settings<'_> {
    fn flaw(&mut self, at: &str, what: impl Into<String>, mend: impl Into<String>) {
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
        let mut duration = |name: &str, text: Option<String>, default: Duration| match text {
            None => default,
            Some(text) => parse_duration(&text).unwrap_or_else(|| {
                let what = format!("`{text}` is no duration");
                self.flaw(
                    &format!("/timeouts/{name}"),
                    what,
                    "write a number above zero and its unit, as in `500ms`, `10s`, `5m` or `1h`",
                );
                default
            }),
        };
        Timeouts {
            upstream: upstream::Timeouts {
                connect: duration("connect", file.connect, upstream.connect),
                idle: duration("idle", file.idle, upstream.idle),
            },
            fan_out: duration("fan-out", file.fan_out, FAN_OUT),
            proxy: proxy::Timeouts {
                head: duration("head", file.head, proxy.head),
                drain: duration("drain", file.drain, proxy.drain),
            },
        }
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

    fn databases(&mut self, at: &str, patterns: &[String]) -> Option<Databases> {
        match Databases::new(patterns) {
            Ok(databases) => Some(databases),
            Err(error) => {
                self.flaw(at, error.to_string(), "write fewer patterns, or shorter ones");
                None
            }
        }
    }

    fn header(&mut self, at: &str, text: &str) -> Option<HeaderName> {
        let header = HeaderName::try_from(text).ok();
        if header.is_none() {
            let what = format!("`{text}` is no name of a header");
            self.flaw(at, what, "write a name like `App-Version`");
        }
        header
    }

    /// None without origins.
    fn cors(&mut self, file: CorsFile) -> Option<Cors> {
        let origins = file.origins.unwrap_or_default();
        let cors = Cors {
            origins: self.origins(&origins),
            credentials: file.credentials.unwrap_or(true),
            headers: file
                .headers
                .unwrap_or_default()
                .iter()
                .enumerate()
                .filter_map(|(n, text)| self.header(&format!("/cors/headers/{n}"), text))
                .collect(),
        };
        (!origins.is_empty()).then_some(cors)
    }

    fn origins(&mut self, texts: &[String]) -> Origins {
        let mut these = HashSet::new();
        for (n, text) in texts.iter().enumerate().filter(|(_, text)| *text != "*") {
            match text.parse::<Origin>() {
                Ok(origin) => {
                    these.insert(origin);
                }
                Err(error) => {
                    let mend = match &error.meant {
                        Some(meant) => format!("write `{meant}`"),
                        None => "write scheme, host and port, as in `https://app.example` or `http://localhost:3000`; \
                                 or `*` for any origin"
                            .to_owned(),
                    };
                    self.flaw(&format!("/cors/origins/{n}"), error.to_string(), mend);
                }
            }
        }
        if texts.iter().any(|text| text == "*") {
            Origins::Any
        } else {
            Origins::These(these)
        }
    }

    /// What is said of single databases, and of all others. `apps` is none while the schemas have flaws: then nothing can be
    /// said of a default.
    fn undeclared(&mut self, file: Option<UndeclaredFile>, apps: Option<&Apps>) -> Option<Fallbacks> {
        const AT: &str = "/app-version/undeclared";
        let entries = match file {
            None => return Some((Vec::new(), Undeclared::Pass)),
            Some(UndeclaredFile::Everywhere(text)) => {
                return Some((Vec::new(), self.undeclared_as(AT, &text, apps)?));
            }
            Some(UndeclaredFile::ByDatabase(entries)) => entries,
        };
        let rules: Vec<Option<(Databases, Undeclared)>> = entries
            .iter()
            .map(|(pattern, text)| {
                let at = format!("{AT}/{}", escaped(pattern));
                let undeclared = self.undeclared_as(&at, text, apps);
                Some((self.databases(AT, std::slice::from_ref(pattern))?, undeclared?))
            })
            .collect();
        Some((rules.into_iter().collect::<Option<_>>()?, Undeclared::Pass))
    }

    fn undeclared_as(&mut self, at: &str, text: &str, apps: Option<&Apps>) -> Option<Undeclared> {
        let default = |text: &str| {
            let app: AppVersion = text.parse().map_err(|error: InvalidAppVersion| error.to_string())?;
            match apps.map(|apps| apps.resolve(text)) {
                Some(Err(error)) => Err(error.to_string()),
                _ => Ok(Undeclared::Default(app)),
            }
        };
        let undeclared = match text {
            "pass" => Ok(Undeclared::Pass),
            "reject" => Ok(Undeclared::Reject),
            text => default(text),
        };
        let mend = "write `pass`, `reject`, or the version to assume, as in `todo-app@2.0.0`";
        undeclared.map_err(|what| self.flaw(at, what, mend)).ok()
    }

    fn retirement(&mut self, file: &RetiredFile) -> Retirement {
        let default = Retirement::default();
        let status = match file.status {
            None => default.status,
            Some(426) => StatusCode::UPGRADE_REQUIRED,
            Some(410) => StatusCode::GONE,
            Some(other) => {
                let what = format!("a retired version cannot be answered with {other}");
                self.flaw("/app-version/retired/status", what, "write 426 or 410");
                default.status
            }
        };
        let accepts_writes = match file.writes.as_deref() {
            None | Some("refuse") => false,
            Some("accept") => true,
            Some(other) => {
                let what = format!("there is no such thing to do with writes as `{other}`");
                self.flaw("/app-version/retired/writes", what, "write `accept` or `refuse`");
                false
            }
        };
        Retirement { status, accepts_writes }
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

#[cfg(test)]
mod tests {
    use super::*;

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
