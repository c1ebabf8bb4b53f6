//! What concerns clients: how they say their version, where they come from, and what becomes of them.

use std::collections::HashSet;

use http::{HeaderName, StatusCode};

use super::{
    compile::Settings,
    problem::escaped,
    raw::{ByPattern, CorsFile, RetiredFile},
};
use crate::{
    proxy::{Changes, Cors, Databases, Origin, Origins, Retirement, Undeclared},
    schema::{AppVersion, Apps, manifest::InvalidAppVersion},
};

/// By database, and in all others.
pub(super) type Fallbacks = (Vec<(Databases, Undeclared)>, Undeclared);

impl Settings<'_> {
    pub(super) fn header(&mut self, at: &str, text: &str) -> Option<HeaderName> {
        let header = HeaderName::try_from(text).ok();
        if header.is_none() {
            let what = format!("`{text}` is no name of a header");
            self.flaw(at, what, "write a name like `App-Version`");
        }
        header
    }

    /// None without origins.
    pub(super) fn cors(&mut self, file: CorsFile) -> Option<Cors> {
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
    pub(super) fn undeclared(&mut self, file: Option<ByPattern>, apps: Option<&Apps>) -> Option<Fallbacks> {
        const AT: &str = "/app-version/undeclared";
        let entries = match file {
            None => return Some((Vec::new(), Undeclared::Pass)),
            Some(ByPattern::Everywhere(text)) => {
                return Some((Vec::new(), self.undeclared_as(AT, &text, apps)?));
            }
            Some(ByPattern::Each(entries)) => entries,
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

    pub(super) fn retirement(&mut self, file: &RetiredFile) -> Retirement {
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

    pub(super) fn changes(&mut self, text: Option<&str>) -> Option<Changes> {
        match text {
            None => Some(Changes::default()),
            Some("selector") => Some(Changes::Selector),
            Some("rows") => Some(Changes::Rows),
            Some(other) => {
                let what = format!("there is no way `{other}` to filter `_changes`");
                self.flaw("/changes", what, "write `selector` or `rows`");
                None
            }
        }
    }
}
