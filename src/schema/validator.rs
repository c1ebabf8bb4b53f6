//! The JSON Schema of a class, compiled: whether a document fits it, and if not, where and by which rule.

use std::{collections::HashSet, fmt, sync::Arc};

use jsonschema::{PatternOptions, ValidationError, error::ValidationErrorKind as Kind};
use serde_json::{Map, Value, value::RawValue};

use super::{Flaw, older};

/// Members that describe and demand nothing.
const ANNOTATIONS: [&str; 8] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
];

/// What every document carries beside its fields, and a closed schema has to name.
const CARRIED: [&str; 3] = ["_id", "schema", "version"];

/// Members that look at fields by their names: the values of all others need not be read.
const BY_NAME: [&str; 5] = ["properties", "required", "type", "$defs", "definitions"];

/// A compiled JSON Schema. It sees a document as CouchDB stores it: with `_id`, and without all other members that begin with an
/// underscore.
#[derive(Clone, Debug, Default)]
pub struct Validator(
    /// None where everything fits.
    Option<Arc<Compiled>>,
);

#[derive(Debug)]
struct Compiled {
    schema: jsonschema::Validator,
    /// The fields whose values matter; none if all do.
    named: Option<HashSet<Box<str>>>,
}

/// What of a document does not fit its schema. It holds no value of the document, so that it may be logged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {what} (rule {rule})", if .at.is_empty() { "the document" } else { .at })]
pub struct Violation {
    /// Where in the document, as a JSON pointer; empty for the whole document.
    pub at: String,
    /// The rule, as a JSON pointer into the schema.
    pub rule: String,
    /// What is wrong, to be read behind `at`.
    pub what: String,
}

impl Validator {
    /// Compiles a schema: draft 2020-12, another that it declares with `$schema`, or one in the style of draft 3 (see [`older`]).
    /// Nothing is fetched: a `$ref` leads to a place of the same schema.
    pub fn new(definition: &Value) -> Result<Self, Flaw> {
        let definition = older::modernized(definition);
        if is_open(&definition) {
            return Ok(Self::default());
        }
        if let Some(name) = unnamed(&definition) {
            return Err(Flaw::new(
                "/additionalProperties",
                format!("no document fits: each carries `{name}`, which is none of `properties`"),
                "add `_id`, `schema` and `version` to `properties`",
            ));
        }
        // In linear time: what clients write is matched.
        let options = jsonschema::options()
            .with_pattern_options(PatternOptions::regex())
            .offline();
        let schema = options.build(&definition).map_err(|error| flaw(&definition, &error))?;
        let named = named(&definition);
        Ok(Self(Some(Arc::new(Compiled { schema, named }))))
    }

    /// Whether every document fits.
    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a document fits. Of several violations one is told.
    pub fn check<'a>(
        &self,
        id: &str,
        members: impl IntoIterator<Item = (&'a str, &'a RawValue)>,
    ) -> Result<(), Violation> {
        let Some(compiled) = &self.0 else { return Ok(()) };
        let mut document = Map::new();
        document.insert("_id".to_owned(), id.into());
        for (name, value) in members.into_iter().filter(|(name, _)| !name.starts_with('_')) {
            if compiled.named.as_ref().is_some_and(|named| !named.contains(name)) {
                document.insert(name.to_owned(), Value::Null);
                continue;
            }
            // CouchDB takes what is nested more deeply than is read here. What it does not take, numbers beyond `f64` and halves of
            // surrogates (measured on 3.5.0), is not read either.
            let value = serde_json::from_str(value.get()).map_err(|_| Violation {
                at: pointer(name),
                rule: String::new(),
                what: "cannot be read: it is nested too deeply, or no JSON".to_owned(),
            })?;
            document.insert(name.to_owned(), value);
        }
        compiled
            .schema
            .validate(&Value::Object(document))
            .map_err(|error| Violation::of(&error))
    }
}

impl Violation {
    fn of(error: &ValidationError<'_>) -> Self {
        // What is missing, or too much, is named by its own place.
        let member = match error.kind() {
            Kind::Required { property } => property.as_str(),
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                unexpected.first().map(String::as_str)
            }
            _ => None,
        };
        let what = match (error.kind(), member) {
            (Kind::Required { .. }, Some(_)) => "is missing".to_owned(),
            (_, Some(_)) | (Kind::FalseSchema, None) => "is not allowed".to_owned(),
            _ => {
                let told = error.masked_with("it").to_string();
                told.strip_prefix("it ").unwrap_or(&told).to_owned()
            }
        };
        Self {
            at: format!("{}{}", error.instance_path(), member.map(pointer).unwrap_or_default()),
            rule: error.schema_path().to_string(),
            what,
        }
    }

    /// Path and rule, for logs.
    pub fn place(&self) -> impl fmt::Display + '_ {
        format!("{} ({})", self.at, self.rule)
    }
}

fn pointer(member: &str) -> String {
    format!("/{}", member.replace('~', "~0").replace('/', "~1"))
}

fn is_open(definition: &Value) -> bool {
    match definition {
        Value::Bool(open) => *open,
        Value::Object(members) => members.keys().all(|name| ANNOTATIONS.contains(&&**name)),
        _ => false,
    }
}

/// The fields whose values a schema looks at, if it looks at them by name alone. Reading no more takes a quarter of the time where
/// most of a document is nested.
fn named(definition: &Value) -> Option<HashSet<Box<str>>> {
    let members = definition.as_object()?;
    let is_by_name = |(name, value): (&String, &Value)| {
        let is_list = name == "additionalProperties" && value.is_boolean();
        is_list || BY_NAME.contains(&&**name) || ANNOTATIONS.contains(&&**name)
    };
    let properties = members.get("properties").and_then(Value::as_object);
    let names = properties.into_iter().flat_map(|properties| properties.keys());
    members
        .iter()
        .all(is_by_name)
        .then(|| names.map(|name| name.as_str().into()).collect())
}

/// What every document carries and a schema that is closed does not name.
fn unnamed(definition: &Value) -> Option<&'static str> {
    let is_closed = definition.get("additionalProperties") == Some(&Value::Bool(false))
        && definition.get("patternProperties").is_none();
    let named = |name: &&str| definition.pointer(&format!("/properties/{name}")).is_some();
    CARRIED.into_iter().find(|name| is_closed && !named(name))
}

fn flaw(definition: &Value, error: &ValidationError<'_>) -> Flaw {
    let nowhere = match error.kind() {
        Kind::Referencing(_) => reference(definition, definition, ""),
        _ => None,
    };
    if let Some(at) = nowhere {
        let target = definition.pointer(&at).and_then(Value::as_str).unwrap_or_default();
        let what = format!("`{target}` is no place of this schema");
        let mend = "write the schema into `$defs` of this file, and refer to it by `#/$defs/…`: nothing else is read";
        return Flaw::new(at, what, mend);
    }
    let declared = definition.get("$schema").and_then(Value::as_str);
    // Nothing else that is referred to is left.
    if let (Kind::Referencing(_), Some(draft)) = (error.kind(), declared) {
        let mend = format!("write `{}` or that of an older draft, or take it out", older::TODAY);
        return Flaw::new(
            "/$schema",
            format!("`{draft}` is no draft of JSON Schema that is known"),
            mend,
        );
    }
    let at = error.instance_path().to_string();
    let mend = match declared {
        // It is what the style of draft 3 is read as, too.
        Some(older::TODAY) => "write what draft 2020-12 allows here",
        Some(_) => "write what the draft in `$schema` allows here",
        None => "write what draft 2020-12 allows here, or declare an older draft with `$schema`",
    };
    Flaw::new(at, format!("is no JSON Schema: {error}"), mend)
}

/// The first `$ref` that does not lead to a place of its own schema.
fn reference(whole: &Value, part: &Value, at: &str) -> Option<String> {
    let leads = |target: &str| {
        target
            .strip_prefix('#')
            .is_some_and(|place| whole.pointer(place).is_some())
    };
    let within = |step: String, value: &Value| {
        let at = format!("{at}{step}");
        match value.as_str().filter(|_| step == "/$ref") {
            Some(target) => (!leads(target)).then_some(at),
            None => reference(whole, value, &at),
        }
    };
    match part {
        Value::Object(members) => members.iter().find_map(|(name, value)| within(pointer(name), value)),
        Value::Array(items) => (0..)
            .zip(items)
            .find_map(|(n, value): (usize, _)| within(format!("/{n}"), value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, document: &Value) -> Result<(), Violation> {
        let text = document.to_string();
        let members: crate::couch::Fields = serde_json::from_str(&text).unwrap();
        Validator::new(schema).unwrap().check("a:1:v:1", members.iter())
    }

    #[test]
    fn tells_place_and_rule_and_no_value() {
        let schema = json!({
            "required": ["_id", "title"],
            "properties": {
                "title": { "type": "string", "maxLength": 5 },
                "tags": { "items": { "enum": ["a", "b"] } },
                "a/b": false,
                "address": { "properties": { "city": {} }, "additionalProperties": false },
                "_rev": false,
            }
        });
        assert_eq!(
            check(&schema, &json!({"title": "abc", "_rev": "1-a", "_attachments": {}})),
            Ok(())
        );
        for (document, at, rule, told) in [
            (json!({}), "/title", "/required", "/title is missing (rule /required)"),
            (
                json!({"title": "secret"}),
                "/title",
                "/properties/title/maxLength",
                "/title is longer than 5 characters (rule /properties/title/maxLength)",
            ),
            (
                json!({"title": "", "tags": ["a", "secret"]}),
                "/tags/1",
                "/properties/tags/items/enum",
                "/tags/1 is not one of \"a\" or \"b\" (rule /properties/tags/items/enum)",
            ),
            (
                json!({"title": "", "a/b": "secret"}),
                "/a~1b",
                "/properties/a~1b",
                "/a~1b is not allowed (rule /properties/a~1b)",
            ),
            (
                json!({"title": "", "address": {"street": "secret"}}),
                "/address/street",
                "/properties/address/additionalProperties",
                "/address/street is not allowed (rule /properties/address/additionalProperties)",
            ),
        ] {
            let violation = check(&schema, &document).unwrap_err();
            assert_eq!((&*violation.at, &*violation.rule), (at, rule));
            assert_eq!(violation.to_string(), told);
        }
    }

    #[test]
    fn what_demands_nothing_is_open() {
        for schema in [json!(true), json!({}), json!({"title": "A note", "$schema": "x"})] {
            assert!(Validator::new(&schema).unwrap().is_open(), "{schema}");
        }
        assert!(!Validator::new(&json!(false)).unwrap().is_open());
        assert!(!Validator::new(&json!({"type": "object"})).unwrap().is_open());
    }

    #[test]
    fn what_is_nested_too_deeply_does_not_fit() {
        let schema = json!({"properties": {"x": {"type": "array"}}});
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let check = |depth| {
            let value = RawValue::from_string(deep(depth)).unwrap();
            Validator::new(&schema).unwrap().check("a", [("x", &*value)])
        };
        assert_eq!(check(100), Ok(()));
        assert_eq!(check(200).unwrap_err().at, "/x");
    }

    #[test]
    fn what_is_not_looked_at_by_name_is_read_all_the_same() {
        let nested = json!({"_id": {}, "schema": {}, "version": {}, "a": {"type": "string"}});
        let (fits, other) = (json!({"a": "a", "b": {"c": 1}}), json!({"a": "a", "b": "c"}));
        for (rule, is_other_fine) in [
            (json!({}), true),
            (json!({"required": ["b"]}), true),
            (json!({"additionalProperties": {"type": "object"}}), false),
            (json!({"patternProperties": {"^b": {"type": "object"}}}), false),
            (json!({"allOf": [{"properties": {"b": {"type": "object"}}}]}), false),
            (
                json!({"$ref": "#/$defs/b", "$defs": {"b": {"properties": {"b": {"type": "object"}}}}}),
                false,
            ),
            (json!({"unevaluatedProperties": {"type": "object"}}), false),
        ] {
            let mut schema = json!({ "properties": nested });
            schema
                .as_object_mut()
                .unwrap()
                .extend(rule.as_object().unwrap().clone());
            assert_eq!(check(&schema, &fits), Ok(()), "{schema}");
            assert_eq!(check(&schema, &other).is_ok(), is_other_fine, "{schema}");
        }
        let closed = json!({"properties": nested, "additionalProperties": false});
        assert_eq!(check(&closed, &fits).unwrap_err().at, "/b");
    }

    #[test]
    fn a_flaw_has_its_place() {
        for (schema, at) in [
            (json!({"properties": {"a": {"type": "text"}}}), "/properties/a/type"),
            (json!({"required": "a"}), "/required"),
            (
                json!({"properties": {"a": {"pattern": "(?=a)"}}}),
                "/properties/a/pattern",
            ),
            (
                json!({"properties": {"a": {"$ref": "https://example.com/a.json"}}}),
                "/properties/a/$ref",
            ),
            (
                json!({"properties": {"a": {"$ref": "address.json"}}}),
                "/properties/a/$ref",
            ),
            (
                json!({"$defs": {"b": {}}, "properties": {"a": {"$ref": "#/$defs/b"}, "c": {"$ref": "#/$defs/c"}}}),
                "/properties/c/$ref",
            ),
            (
                json!({"additionalProperties": false, "properties": {"_id": {}, "schema": {}}}),
                "/additionalProperties",
            ),
            (
                json!({"$schema": "https://example.com/mine", "required": ["a"]}),
                "/$schema",
            ),
        ] {
            assert_eq!(Validator::new(&schema).unwrap_err().at, at, "{schema}");
        }
    }

    #[test]
    fn what_draft_3_allowed_and_is_not_read_is_not_asked_for() {
        let schema = json!({"$schema": "http://json-schema.org/draft-03/schema#", "dependencies": {"a": "b"}});
        assert_eq!(
            Validator::new(&schema).unwrap_err().mend,
            "write what draft 2020-12 allows here"
        );
    }

    #[test]
    fn a_reference_leads_to_its_own_schema() {
        let schema = json!({"$defs": {"name": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/name"}}});
        assert_eq!(check(&schema, &json!({"a": "b"})), Ok(()));
        assert_eq!(check(&schema, &json!({"a": 1})).unwrap_err().at, "/a");
    }
}
