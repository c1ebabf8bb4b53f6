//! The files that begin the next major version of a schema: copies with raised versions, and a lens between old and new.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::Schemas;
use crate::schema::{AppManifest, CLASS_FIELDS, Class, ClassId, ClassName};

/// What begins the next major version of schemas, each with a class, a lens to it and apps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Next {
    /// The new classes, in the order of their schemas.
    pub classes: Vec<NewFile>,
    /// A lens to each of them.
    pub lenses: Vec<NewFile>,
    /// One for each app, however many of the schemas it works with.
    pub manifests: Vec<NewFile>,
}

/// A file to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Where.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

/// Why there is no next version.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum NoNext {
    #[error("there is no schema `{schema}`; known are: {known}")]
    Schema { schema: String, known: String },
    #[error("there is no app `{app}`; known are: {known}")]
    App { app: String, known: String },
    #[error("{app} does not work with {class}: write its next manifest by hand")]
    Stranger { app: String, class: ClassName },
    #[error("{file}: {error}")]
    Unreadable { file: String, error: io::Error },
}

impl Schemas {
    /// What begins the next major version of schemas: their classes, the lenses to these, and a manifest for each app whose newest
    /// version works with the newest class of any; or for `app` alone, which has to work with all. Nothing is written here.
    pub fn next_version(&self, root: &Path, schemas: &[String], app: Option<&str>) -> Result<Next, NoNext> {
        let mut next = Next::default();
        let mut raised: Vec<(&AppManifest, Vec<ClassName>)> = Vec::new();
        let in_file = |folder: &str, stem: String, extension: &str| {
            let stem = stem.replace(['/', '\\'], "-");
            root.join(folder).join(format!("{stem}.{extension}"))
        };
        for (n, schema) in schemas.iter().enumerate() {
            if schemas[..n].contains(schema) {
                continue;
            }
            let (id, newest) = self.newest(schema)?;
            let name = ClassName {
                major: newest.name.major + 1,
                ..newest.name.clone()
            };
            next.classes.push(NewFile {
                path: in_file("classes", name.to_string(), "json"),
                text: class(read(&self.files.classes[id.0])?, &name),
            });
            let between = format!("{schema}-{}-to-{}", newest.name.major, name.major);
            next.lenses.push(NewFile {
                path: in_file("lenses", between, "yaml"),
                text: lens(&newest.name, &name, &self.sample(id, newest)),
            });
            for app in self.apps_to_raise(newest, app)? {
                match raised.iter_mut().find(|(known, _)| std::ptr::eq(*known, app)) {
                    Some((_, classes)) => classes.push(name.clone()),
                    None => raised.push((app, vec![name.clone()])),
                }
            }
        }
        for (app, classes) in raised {
            let id = |version: &semver::Version| format!("{}-{version}", app.manifest.name);
            let version = semver::Version::new(app.manifest.version.major + 1, 0, 0);
            let file = in_file("apps", id(&app.manifest.version), "json");
            next.manifests.push(NewFile {
                path: in_file("apps", id(&version), "json"),
                text: manifest(read(&file.display().to_string())?, &version, &classes),
            });
        }
        Ok(next)
    }

    /// The newest class of a schema.
    fn newest(&self, schema: &str) -> Result<(ClassId, &Class), NoNext> {
        let of_schema = self
            .registry
            .classes()
            .filter(|(_, class)| *class.name.schema == *schema);
        of_schema.max_by_key(|(_, class)| class.name.major).ok_or_else(|| {
            let known = self.registry.classes().map(|(_, class)| &*class.name.schema);
            NoNext::Schema {
                schema: schema.to_owned(),
                known: listed(known),
            }
        })
    }

    fn apps_to_raise(&self, class: &Class, only: Option<&str>) -> Result<Vec<&AppManifest>, NoNext> {
        let mut newest: Vec<&AppManifest> = Vec::new();
        for app in self.apps.iter() {
            newest.retain(|other| other.manifest.name != app.manifest.name);
            newest.push(app);
        }
        let Some(only) = only else {
            newest.retain(|app| app.manifest.works_with(class));
            return Ok(newest);
        };
        let known = newest.iter().map(|app| &*app.manifest.name);
        let Some(app) = newest.iter().find(|app| app.manifest.name == only) else {
            return Err(NoNext::App {
                app: only.to_owned(),
                known: listed(known),
            });
        };
        if !app.manifest.works_with(class) {
            return Err(NoNext::Stranger {
                app: app.to_string(),
                class: class.name.clone(),
            });
        }
        Ok(vec![app])
    }

    /// A document to begin an example with, as YAML: from another lens's example, else what the schema requires.
    fn sample(&self, id: ClassId, class: &Class) -> String {
        let examples = self.lenses.iter().flat_map(|lens| lens.examples());
        let documents = examples.flat_map(|example| example.old.iter().chain(&example.new));
        let mut documents = documents.filter(|(class, _)| *class == id);
        let fields = match documents.find_map(|(_, fields)| fields.as_ref()) {
            Some(fields) => fields.clone(),
            None => serde_json::from_value(sample("", &class.definition)).unwrap_or_default(),
        };
        let fields = fields.iter().filter(|(name, _)| !CLASS_FIELDS.contains(name));
        let fields: Vec<String> = fields
            .map(|(name, value)| format!("{}: {}", Value::from(name), value.get()))
            .collect();
        match &fields[..] {
            [] => "{}".to_owned(),
            _ => format!("{{ {} }}", fields.join(", ")),
        }
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.dedup();
    names.join(", ")
}

fn read(file: &str) -> Result<Map<String, Value>, NoNext> {
    let unreadable = |error| NoNext::Unreadable {
        file: file.to_owned(),
        error,
    };
    let text = fs::read_to_string(file).map_err(unreadable)?;
    serde_json::from_str(&text).map_err(|error| unreadable(error.into()))
}

fn class(mut file: Map<String, Value>, name: &ClassName) -> String {
    file.insert("version".into(), json!(format!("{}.0.0", name.major)));
    // Two versions with one pattern could not be told apart.
    let pattern = file.get("documentId").and_then(Value::as_str);
    if let Some(pattern) = pattern.filter(|pattern| !pattern.contains("{version}")) {
        let pattern = format!("{pattern}:v:{{version}}");
        file.insert("documentId".into(), pattern.into());
    }
    let version = file
        .get_mut("properties")
        .and_then(|properties| properties.get_mut("version"));
    if let Some(declared) = version.and_then(|version| version.get_mut("const")) {
        *declared = name.major.into();
    }
    pretty(file)
}

fn manifest(mut file: Map<String, Value>, version: &semver::Version, classes: &[ClassName]) -> String {
    file.insert("version".into(), json!(version.to_string()));
    for ended in ["deprecated", "sunset", "retired", "link"] {
        file.shift_remove(ended);
    }
    if let Some(dependencies) = file.get_mut("dependencies").and_then(Value::as_object_mut) {
        for class in classes {
            dependencies.insert(class.schema.to_string(), json!(format!("^{}.0.0", class.major)));
        }
    }
    pretty(file)
}

fn pretty(file: Map<String, Value>) -> String {
    serde_json::to_string_pretty(&Value::Object(file)).unwrap_or_default() + "\n"
}

fn lens(old: &ClassName, new: &ClassName, sample: &str) -> String {
    format!(
        "# What is new in version {major} of {schema}. Without steps documents travel as they are.
old: {old}
new: {new}

# From old to new; run backwards for the other way. For example
#   - rename: {{ from: text, to: title }}
#   - add: {{ field: color, value: white }}
#   - remove: {{ field: size, value: 1 }}
steps: []

examples:
  - name: a document of version {before}
    old:
      {old}: {sample}
    new:
      {new}: {sample}
",
        major = new.major,
        before = old.major,
        schema = new.schema,
    )
}

/// Some value of a schema; of an object what is required.
fn sample(name: &str, schema: &Value) -> Value {
    let first = |keyword: &str| schema.get(keyword).and_then(|values| values.get(0));
    let given = schema.get("const").or_else(|| schema.get("default"));
    if let Some(value) = given.or_else(|| first("examples")).or_else(|| first("enum")) {
        return value.clone();
    }
    let kind = schema
        .get("type")
        .and_then(|kind| kind.as_str().or_else(|| kind.get(0)?.as_str()));
    match kind {
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| 1.into()),
        Some("boolean") => false.into(),
        Some("array") => json!([]),
        Some("null") => Value::Null,
        Some("object") => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let members = required.filter_map(Value::as_str).map(|name| {
                let member = schema
                    .pointer("/properties")
                    .and_then(|properties| properties.get(name));
                (name.to_owned(), sample(name, member.unwrap_or(&Value::Null)))
            });
            Value::Object(members.collect())
        }
        _ if name.is_empty() => json!({}),
        _ => name.into(),
    }
}
