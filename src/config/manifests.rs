//! From `apps/*.json` to manifests that only name what exists.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use http::Uri;
use semver::VersionReq;
use serde::Deserialize;

use super::{
    folder::{self, Source},
    problem::{Report, escaped},
    read::Form,
    schemas::{Declared, is_named, version},
};
use crate::schema::{AppManifest, Apps, Flaw, InvalidMoment, Manifest, Newer, Registry, Scope};

/// As it is written; what is missing is told by name, so nothing is required here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestFile {
    name: Option<String>,
    version: Option<String>,
    dependencies: Option<BTreeMap<String, String>>,
    #[serde(default)]
    newer: Newer,
    scope: Option<Scope>,
    deprecated: Option<String>,
    sunset: Option<String>,
    #[serde(default)]
    retired: bool,
    link: Option<String>,
}

/// Reads every manifest and holds it against the classes.
pub(super) fn load(root: &Path, classes: &[Declared], report: &mut Report) -> Vec<(String, Manifest)> {
    let mut manifests: Vec<(String, Manifest)> = Vec::new();
    for source in folder::read_files::<ManifestFile>(&root.join("apps"), Form::Json, &[], report) {
        let Some(manifest) = source
            .value
            .as_ref()
            .and_then(|file| manifest(&source, file, classes, report))
        else {
            continue;
        };
        let is_same = |other: &Manifest| other.name == manifest.name && other.version == manifest.version;
        let id = format!("{}-{}", manifest.name, manifest.version);
        match manifests.iter().find(|(_, other)| is_same(other)) {
            Some((other, _)) => {
                let what = format!("declares {}@{}, as {other} does", manifest.name, manifest.version);
                report.add(
                    &source.file,
                    Flaw::new("", what, "keep one manifest for each version of an app"),
                );
            }
            None => {
                is_named(&source, &id, "json", report);
                manifests.push((source.file, manifest));
            }
        }
    }
    manifests
}

fn manifest(
    source: &Source<ManifestFile>,
    file: &ManifestFile,
    classes: &[Declared],
    report: &mut Report,
) -> Option<Manifest> {
    let name = file.name.clone().filter(|name| !name.is_empty());
    if name.is_none() {
        let mend = "add one, as in `\"name\": \"todo-app\"`";
        report.add_missing(&source.file, Flaw::new("/name", "the app has no name", mend));
    }
    let version = version(&source.file, file.version.as_deref(), report);
    if file.dependencies.is_none() {
        let what = "nothing says what the app works with";
        let mend = "add its schemas, as in `\"dependencies\": {\"todo-item\": \"^2.0.0\"}`";
        report.add_missing(&source.file, Flaw::new("/dependencies", what, mend));
    }
    let mut dependencies = BTreeMap::new();
    for (schema, range) in file.dependencies.iter().flatten() {
        let at = format!("/dependencies/{}", escaped(schema));
        let range = dependency(schema, range, classes).map_err(|(what, mend)| Flaw::new(at, what, mend));
        if let Some(range) = report.take(&source.file, range) {
            dependencies.insert(schema.clone(), range);
        }
    }
    let mut moment = |member: &str, text: Option<&String>| {
        let moment = text?.parse().map_err(|error: InvalidMoment| {
            let mend = "write the first day in UTC, or a time as RFC 3339 writes it";
            Flaw::new(format!("/{member}"), error.to_string(), mend)
        });
        report.take(&source.file, moment)
    };
    let deprecated = moment("deprecated", file.deprecated.as_ref());
    let sunset = moment("sunset", file.sunset.as_ref());
    if let (Some(deprecated), Some(sunset)) = (deprecated, sunset)
        && sunset < deprecated
    {
        let what = format!("the app ends on {sunset}, before it is deprecated on {deprecated}");
        let mend = "let `deprecated` come first: it tells users that the sunset is near";
        report.add(&source.file, Flaw::new("/sunset", what, mend));
    }
    let is_url = |link: &&String| link.parse::<Uri>().is_ok_and(|url| url.scheme().is_some());
    if let Some(link) = file.link.as_ref().filter(|link| !is_url(link)) {
        let what = format!("`{link}` is no URL");
        let mend = "write a whole one, as in `https://todo.example/update`";
        report.add(&source.file, Flaw::new("/link", what, mend));
    }
    Some(Manifest {
        name: name?,
        version: version?,
        dependencies,
        newer: file.newer,
        scope: file.scope,
        deprecated,
        sunset,
        retired: file.retired,
        link: file.link.clone(),
    })
}

/// The range, if there is a class for it; else what is wrong, and how to mend it.
fn dependency(schema: &str, range: &str, classes: &[Declared]) -> Result<VersionReq, (String, String)> {
    let parsed: VersionReq = range.parse().map_err(|error| {
        let what = format!("`{range}` is no range of versions: {error}");
        (what, "write a range like `^2.0.0`".to_owned())
    })?;
    let of_schema = || classes.iter().filter(|declared| *declared.class.name.schema == *schema);
    if of_schema().next().is_none() {
        let mut known: Vec<&str> = classes.iter().map(|declared| &*declared.class.name.schema).collect();
        known.dedup();
        let what = format!("there is no schema `{schema}`");
        return Err((
            what,
            format!("name one of {}, or add it to `classes`", known.join(", ")),
        ));
    }
    let satisfies = |declared: &Declared| declared.is_stand_in || parsed.matches(&declared.class.version);
    if !of_schema().any(satisfies) {
        let versions: Vec<String> = of_schema().map(|declared| declared.class.version.to_string()).collect();
        let what = format!(
            "no class of `{schema}` satisfies `{range}`: there is {}",
            versions.join(", ")
        );
        return Err((
            what,
            "mend the range, or add the schema's new version to `classes`".to_owned(),
        ));
    }
    Ok(parsed)
}

/// The manifests with what follows from them; `scope` counts for those that do not say.
pub(super) fn filtered(manifests: Vec<(String, Manifest)>, registry: &Arc<Registry>, scope: Scope) -> Option<Apps> {
    let apps = manifests
        .into_iter()
        .map(|(_, manifest)| AppManifest::new(registry, manifest, scope));
    // Duplicates were told, file by file.
    Apps::new(apps).ok()
}
