//! What one app version works with, and which manifest answers for a declared version.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use semver::{Version, VersionReq};
use serde::Deserialize;

use super::{Class, Filter, Moment, Registry};

/// `{"name":"todo-app","version":"2.0.0","dependencies":{"todo-item":"^2.0.0"}}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The app.
    pub name: String,
    /// The first release this manifest speaks for.
    pub version: Version,
    /// The schemas it works with, and in which versions.
    pub dependencies: BTreeMap<String, VersionReq>,
    /// What becomes of documents newer than it knows.
    #[serde(default)]
    pub newer: Newer,
    /// What its clients are shown of reads; none if the configuration's default counts.
    #[serde(default)]
    pub scope: Option<Scope>,
    /// Since when its users are asked to update.
    #[serde(default)]
    pub deprecated: Option<Moment>,
    /// When it stops working.
    #[serde(default)]
    pub sunset: Option<Moment>,
    /// It has stopped working.
    #[serde(default)]
    pub retired: bool,
    /// The URL of a page about its end.
    #[serde(default)]
    pub link: Option<String>,
}

/// Whether an app is sent classes that are newer than it works with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Newer {
    /// They pass: an app that updates finds its data already there.
    #[default]
    Seamless,
    /// They are filtered out.
    Withhold,
}

/// Which of the classes of a schema a client sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Those of every version.
    #[default]
    All,
    /// Those its range accepts, and newer ones.
    CurrentAndNewer,
    /// Those its range accepts.
    Exact,
}

impl Newer {
    /// What a client replicates.
    pub fn scope(self) -> Scope {
        match self {
            Self::Seamless => Scope::CurrentAndNewer,
            Self::Withhold => Scope::Exact,
        }
    }
}

/// An app and one of its versions, written `todo-app@2.0.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppVersion {
    /// The app.
    pub name: String,
    /// Its version.
    pub version: Version,
}

/// The text is no `name@version`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no app version: expected a name, an @ and a version, like `todo-app@2.0.0`")]
pub struct InvalidAppVersion(pub String);

/// A manifest and what follows from it.
#[derive(Clone, Debug)]
pub struct AppManifest {
    /// As declared.
    pub manifest: Manifest,
    /// What its clients see of `_changes`, and so replicate; none if they see everything.
    pub replicates: Option<Filter>,
    /// What its clients see of `_find`, `_all_docs`, `_bulk_get` and views; none if they see everything.
    pub reads: Option<Filter>,
}

/// Every manifest, by app, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Apps(BTreeMap<String, Vec<Arc<AppManifest>>>);

/// Two manifests speak for the same version of an app.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two manifests declare {0}")]
pub struct DuplicateManifest(pub String);

/// Why no manifest answers for a declared version. Messages list what is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum VersionError {
    #[error("`{declared}` is no app version; known are: {known}")]
    Malformed { declared: String, known: String },
    #[error("`{declared}` does not say which app; known are: {known}")]
    Nameless { declared: String, known: String },
    #[error("there is no app `{name}`; known are: {known}")]
    UnknownApp { name: String, known: String },
    #[error("`{name}` has no major version {major}; known are: {known}")]
    UnknownMajor { name: String, major: u64, known: String },
}

impl fmt::Display for AppVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl FromStr for AppVersion {
    type Err = InvalidAppVersion;

    fn from_str(text: &str) -> Result<Self, InvalidAppVersion> {
        let invalid = || InvalidAppVersion(text.to_owned());
        // The last @: npm's scoped names begin with one.
        let (name, version) = text.trim().rsplit_once('@').ok_or_else(invalid)?;
        let version = version.parse().map_err(|_| invalid())?;
        if name.is_empty() {
            return Err(invalid());
        }
        Ok(Self {
            name: name.to_owned(),
            version,
        })
    }
}

impl Manifest {
    /// Whether the app reads and writes documents of this class.
    pub fn works_with(&self, class: &Class) -> bool {
        let range = self.dependencies.get(&*class.name.schema);
        range.is_some_and(|range| range.matches(&class.version))
    }
}

impl AppManifest {
    /// What follows from a manifest; `scope` counts for one that does not say.
    pub fn new(registry: &Arc<Registry>, manifest: Manifest, scope: Scope) -> Self {
        Self {
            replicates: Filter::new(registry.clone(), &manifest, manifest.newer.scope()),
            reads: Filter::new(registry.clone(), &manifest, manifest.scope.unwrap_or(scope)),
            manifest,
        }
    }

    /// `todo-app@2.0.0`.
    pub fn id(&self) -> String {
        self.to_string()
    }
}

/// `todo-app@2.0.0`.
impl fmt::Display for AppManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.manifest.name, self.manifest.version)
    }
}

impl Apps {
    /// Each manifest with what follows from it.
    pub fn new(manifests: impl IntoIterator<Item = AppManifest>) -> Result<Self, DuplicateManifest> {
        let mut apps = BTreeMap::<String, Vec<Arc<AppManifest>>>::new();
        for app in manifests {
            let versions = apps.entry(app.manifest.name.clone()).or_default();
            match versions.binary_search_by(|known| known.manifest.version.cmp(&app.manifest.version)) {
                Ok(_) => return Err(DuplicateManifest(app.to_string())),
                Err(place) => versions.insert(place, Arc::new(app)),
            }
        }
        Ok(Self(apps))
    }

    /// The manifest for a header like `todo-app@2.0.1`, or `2.0.1` where there is only one app.
    ///
    /// It is the newest one of the same major version that is not newer than what was declared, else the oldest of
    /// that major version.
    pub fn resolve(&self, declared: &str) -> Result<&Arc<AppManifest>, VersionError> {
        let known = || self.to_string();
        let (name, version) = match declared.parse::<AppVersion>() {
            Ok(app) => (app.name, app.version),
            Err(_) => {
                let malformed = |_| VersionError::Malformed {
                    declared: declared.to_owned(),
                    known: known(),
                };
                let version = declared.trim().parse::<Version>().map_err(malformed)?;
                let mut names = self.0.keys();
                match (names.next(), names.next()) {
                    (Some(name), None) => (name.clone(), version),
                    _ => {
                        return Err(VersionError::Nameless {
                            declared: declared.to_owned(),
                            known: known(),
                        });
                    }
                }
            }
        };
        let Some(versions) = self.0.get(&name) else {
            return Err(VersionError::UnknownApp { name, known: known() });
        };
        let same_major = || {
            versions
                .iter()
                .filter(|app| app.manifest.version.major == version.major)
        };
        same_major()
            .rfind(|app| app.manifest.version <= version)
            .or_else(|| same_major().next())
            .ok_or_else(|| VersionError::UnknownMajor {
                name,
                major: version.major,
                known: known(),
            })
    }

    /// The oldest version of the same app that is newer and does not end yet.
    pub fn successor(&self, app: &AppManifest, now: Moment) -> Option<&AppManifest> {
        let mut versions = self.0.get(&app.manifest.name)?.iter();
        versions
            .find(|other| other.manifest.version > app.manifest.version && !other.manifest.is_retired(now))
            .map(|app| &**app)
    }

    /// All manifests.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<AppManifest>> {
        self.0.values().flatten()
    }
}

/// `todo-app@1.0.0, todo-app@2.0.0`.
impl fmt::Display for Apps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, app) in self.iter().enumerate() {
            let comma = if nth == 0 { "" } else { ", " };
            write!(f, "{comma}{app}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn apps(versions: &[&str]) -> Apps {
        let manifest = |id: &&str| {
            let AppVersion { name, version } = id.parse().unwrap();
            let manifest = json!({ "name": name, "version": version, "dependencies": {} });
            let manifest = serde_json::from_value(manifest).unwrap();
            AppManifest {
                manifest,
                replicates: None,
                reads: None,
            }
        };
        Apps::new(versions.iter().map(manifest)).unwrap()
    }

    #[test]
    fn reads_a_manifest() {
        let text = r#"{"name":"todo-app","version":"2.0.0","dependencies":{"todo-item":"^2.0.0"}}"#;
        let manifest: Manifest = serde_json::from_str(text).unwrap();
        assert_eq!(manifest.newer, Newer::Seamless);
        assert!(manifest.dependencies["todo-item"].matches(&Version::new(2, 1, 0)));
        assert!(serde_json::from_str::<Manifest>(&text.replace("name", "nome")).is_err());
        let withhold = text.replace("\"name\"", "\"newer\":\"withhold\",\"name\"");
        assert_eq!(
            serde_json::from_str::<Manifest>(&withhold).unwrap().newer,
            Newer::Withhold
        );
        let scoped = text.replace("\"name\"", "\"scope\":\"current-and-newer\",\"name\"");
        let scoped: Manifest = serde_json::from_str(&scoped).unwrap();
        assert_eq!((manifest.scope, scoped.scope), (None, Some(Scope::CurrentAndNewer)));
    }

    #[test]
    fn the_newest_manifest_not_newer_than_declared_answers() {
        let apps = apps(&["todo@2.3.0", "todo@1.0.0", "todo@2.1.0"]);
        for (declared, answers) in [
            ("todo@1.0.0", "todo@1.0.0"),
            ("todo@1.9.9", "todo@1.0.0"),
            ("todo@2.1.0", "todo@2.1.0"),
            ("todo@2.2.9", "todo@2.1.0"),
            ("todo@2.99.0", "todo@2.3.0"),
            // Older than every manifest of its major version: the oldest.
            ("todo@2.0.0", "todo@2.1.0"),
            ("2.3.0", "todo@2.3.0"),
        ] {
            assert_eq!(apps.resolve(declared).unwrap().to_string(), answers, "{declared}");
        }
    }

    #[test]
    fn refusals_list_what_is_known() {
        let apps = apps(&["todo@1.0.0", "shop@1.0.0"]);
        for declared in [
            "",
            "todo",
            "todo@",
            "todo@two",
            "@1.0.0",
            "1.0.0",
            "blog@1.0.0",
            "todo@2.0.0",
            "todo@1.0.0, todo@1.0.0",
        ] {
            let reason = apps.resolve(declared).unwrap_err().to_string();
            assert!(
                reason.ends_with("known are: shop@1.0.0, todo@1.0.0"),
                "{declared}: {reason}"
            );
        }
    }

    #[test]
    fn the_next_version_that_works_succeeds() {
        let known = apps(&["todo@1.0.0", "todo@2.0.0", "todo@3.0.0", "shop@9.0.0"]);
        let retire = |app: &Arc<AppManifest>| {
            let mut app = AppManifest::clone(app);
            app.manifest.retired = app.manifest.version.major == 2;
            app
        };
        let known = Apps::new(known.iter().map(retire)).unwrap();
        let now = Moment::now();
        let successor = |of: &str| {
            let app = known.resolve(of).unwrap();
            known.successor(app, now).map(ToString::to_string)
        };
        assert_eq!(successor("todo@1.0.0").as_deref(), Some("todo@3.0.0"));
        assert_eq!(successor("todo@3.0.0"), None);
    }

    #[test]
    fn no_version_is_declared_twice() {
        let app = AppManifest::clone(apps(&["todo@1.0.0"]).iter().next().unwrap());
        assert_eq!(
            Apps::new([app.clone(), app]).unwrap_err(),
            DuplicateManifest("todo@1.0.0".into())
        );
    }
}
