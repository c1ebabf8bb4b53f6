//! What people read when the proxy starts: one screen.

use std::{
    fmt::{self, Display},
    net::SocketAddr,
};

use chesterfield::{
    config::{Config, UpstreamConfig},
    proxy::Undeclared,
    schema::Moment,
};

/// The whole screen.
pub struct Screen<'a> {
    pub config: &'a Config,
    /// Where it really listens: the configured port may be 0.
    pub address: SocketAddr,
    /// The upstream's name, and what it says of itself.
    pub upstream: &'a str,
}

/// The part about classes, lenses and apps.
pub struct Served<'a>(pub &'a Config);

/// A label and its lines, aligned.
fn row(f: &mut fmt::Formatter<'_>, label: &str, lines: &[String]) -> fmt::Result {
    for (n, line) in lines.iter().enumerate() {
        writeln!(f, "  {:<11}{line}", if n == 0 { label } else { "" })?;
    }
    Ok(())
}

impl Display for Screen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            config,
            address,
            upstream,
        } = self;
        writeln!(f, "Chesterfield {}\n", env!("CARGO_PKG_VERSION"))?;
        row(f, "listens", &[format!("http://{address}")])?;
        row(f, "upstream", &[(*upstream).to_owned()])?;
        let file = match &config.file {
            Some(file) => file.display().to_string(),
            None => "none, all defaults".to_owned(),
        };
        row(
            f,
            "config",
            &[format!("{file}; schemas in {}", config.schemas_folder.display())],
        )?;
        row(f, "databases", &[config.databases.join(", ")])?;
        let taken = |undeclared: &Undeclared| match undeclared {
            Undeclared::Pass => "sees every version".to_owned(),
            Undeclared::Reject => "is refused".to_owned(),
            Undeclared::Default(app) => format!("is taken for {app}"),
        };
        let undeclared = match &config.proxy.undeclared_in[..] {
            [] => taken(&config.proxy.undeclared),
            _ => "is taken for what the database says".to_owned(),
        };
        let header = &config.header;
        row(f, "header", &[format!("{header}; who sends none {undeclared}")])?;
        if let Some(metrics) = config.metrics {
            row(f, "metrics", &[format!("http://{metrics}/metrics")])?;
        }
        writeln!(f)?;
        Served(config).fmt(f)?;
        writeln!(f)?;
        row(f, "try next", &self.try_next())?;
        row(f, "stop", &["Ctrl-C".to_owned()])
    }
}

impl Screen<'_> {
    fn try_next(&self) -> Vec<String> {
        let at = format!("http://{}", self.address);
        let is_todo = self.config.schemas.registry.classify("todo-item:milk:v:1").is_some();
        if is_todo && matches!(self.config.upstream, UpstreamConfig::Embedded(_)) {
            let body = r#"{"schema":"todo-item","version":1,"title":"Buy milk","isDone":false}"#;
            return vec![
                format!("curl -X PUT {at}/hello"),
                format!("curl -X PUT {at}/hello/todo-item:milk:v:1 -d '{body}'"),
                format!("curl {at}/hello/todo-item:milk:v:3"),
                "and then the tour in README.md".to_owned(),
            ];
        }
        let header = &self.config.header;
        let app = self.config.schemas.apps.iter().last();
        let app = app.map_or_else(String::new, |app| format!(" -H '{header}: {app}'"));
        vec![
            format!("curl {at}/"),
            format!("curl '{at}/DATABASE/_changes'{app} -u NAME:PASSWORD"),
            "and then point an app to this address".to_owned(),
        ]
    }
}

impl Display for Served<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schemas = &self.0.schemas;
        let classes: Vec<String> = schemas
            .registry
            .classes()
            .map(|(_, class)| class.name.to_string())
            .collect();
        row(f, "classes", &wrapped(&classes))?;
        let steps = schemas.registry.steps().iter();
        let lenses: Vec<String> = steps.map(|step| schemas.registry.tells(step)).collect();
        row(f, "lenses", &lenses)?;
        let apps = schemas.apps.iter().map(|app| {
            let dependencies = app.manifest.dependencies.iter();
            let dependencies: Vec<String> = dependencies
                .map(|(schema, range)| format!("{schema} {range}"))
                .collect();
            let manifest = &app.manifest;
            let end = match (manifest.sunset, manifest.deprecated) {
                _ if manifest.is_retired(Moment::now()) => " (retired)".to_owned(),
                (Some(sunset), _) => format!(" (until {sunset})"),
                (None, Some(deprecated)) => format!(" (deprecated from {deprecated})"),
                (None, None) => String::new(),
            };
            format!("{app}: {}{end}", dependencies.join(", "))
        });
        row(f, "apps", &apps.collect::<Vec<_>>())
    }
}

/// A list in lines of readable length.
fn wrapped(items: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if line.len() + item.len() < 88 => {
                line.push_str(", ");
                line.push_str(item);
            }
            _ => lines.push(item.clone()),
        }
    }
    lines
}
