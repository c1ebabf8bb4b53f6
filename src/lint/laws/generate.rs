//! Documents made from JSON Schemas, for laws to be tried on: as varied as the schema allows, shrunk to the simplest that shows a
//! defect.

use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any},
    sample::select,
    strategy::{BoxedStrategy, Union},
    string::string_regex,
};
use serde_json::{Map, Number, Value, value::to_raw_value};

use crate::{
    couch::Fields,
    lens::example::KEY,
    schema::{CLASS_FIELDS, Class, bare, older::modernized},
};

/// How deep schemas are followed that contain themselves.
const DEPTH: usize = 5;

/// Documents that fit the class, without `_id`, `schema` and `version`. `known` are documents that people wrote: their values are tried
/// too, and for a class that demands nothing they are all there is. None if nothing is known.
pub fn documents(class: &Class, known: &[&Fields]) -> Option<BoxedStrategy<Fields>> {
    if class.validator.is_open() {
        let known: Vec<Fields> = known.iter().map(|fields| (*fields).clone()).collect();
        return (!known.is_empty()).then(|| select(known).boxed());
    }
    let definition = modernized(&class.definition).into_owned();
    let schema = Schema { root: &definition };
    let made = schema
        .value(&definition, DEPTH, Some(known))
        .prop_map(|value| fields(&value));
    let class = class.clone();
    let fits = move |fields: &Fields| fits(&class, fields);
    Some(made.prop_filter("does not fit its schema", fits).boxed())
}

/// Whether the engine would take these fields as a document of the class.
pub fn fits(class: &Class, fields: &Fields) -> bool {
    violation(class, fields).is_none()
}

/// What of these fields does not fit the class.
pub fn violation(class: &Class, fields: &Fields) -> Option<String> {
    let (set, own) = (class.name.fields(), bare(fields));
    let members = own.iter().chain(set.iter().map(|(name, value)| (*name, &**value)));
    let checked = class.validator.check(&class.pattern.id(KEY), members);
    checked.err().map(|violation| violation.to_string())
}

fn fields(value: &Value) -> Fields {
    let members = value.as_object().into_iter().flatten();
    members
        .filter(|(name, _)| !name.starts_with('_') && !CLASS_FIELDS.contains(&&***name))
        .map(|(name, value)| (name.as_str(), to_raw_value(value).unwrap_or_default()))
        .collect()
}

/// A schema with what its references lead to. What it demands beyond what is understood here is left to a filter.
struct Schema<'a> {
    root: &'a Value,
}

impl Schema<'_> {
    fn value(&self, schema: &Value, depth: usize, known: Option<&[&Fields]>) -> BoxedStrategy<Value> {
        let Some(members) = schema.as_object().filter(|_| depth > 0) else {
            return scalar();
        };
        if let Some(target) = members.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return target.map_or_else(scalar, |target| self.value(target, depth - 1, known));
        }
        if let Some(value) = members.get("const") {
            return Just(value.clone()).boxed();
        }
        if let Some(values) = list(members, "enum") {
            return select(values.clone()).boxed();
        }
        if let Some(all) = list(members, "allOf") {
            let merged = all
                .iter()
                .fold(without(members, "allOf"), |merged, part| self.merged(merged, part));
            return self.value(&Value::Object(merged), depth - 1, known);
        }
        for keyword in ["oneOf", "anyOf"] {
            if let Some(some) = list(members, keyword) {
                let rest = without(members, keyword);
                let branches = some
                    .iter()
                    .map(|branch| Value::Object(self.merged(rest.clone(), branch)));
                return Union::new(branches.map(|branch| self.value(&branch, depth - 1, known))).boxed();
            }
        }
        let kinds: Vec<&str> = match members.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => implied(members).into_iter().collect(),
        };
        if kinds.is_empty() {
            return scalar();
        }
        Union::new(kinds.into_iter().map(|kind| self.of_kind(kind, members, depth, known))).boxed()
    }

    fn of_kind(
        &self,
        kind: &str,
        members: &Map<String, Value>,
        depth: usize,
        known: Option<&[&Fields]>,
    ) -> BoxedStrategy<Value> {
        match kind {
            "object" => self.object(members, depth, known),
            "array" => self.array(members, depth),
            "string" => string(members),
            "integer" => integer(members),
            "number" => number(members),
            "boolean" => any::<bool>().prop_map(Value::from).boxed(),
            _ => Just(Value::Null).boxed(),
        }
    }

    fn object(&self, members: &Map<String, Value>, depth: usize, known: Option<&[&Fields]>) -> BoxedStrategy<Value> {
        let required: Vec<&str> = list(members, "required")
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let none = Map::new();
        let properties = members.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let undescribed = required.iter().filter(|name| !properties.contains_key(**name));
        let all = properties.iter().map(|(name, schema)| (name.as_str(), schema));
        let all = all.chain(undescribed.map(|name| (*name, &Value::Null)));
        let mut object = Just(Map::new()).boxed();
        for (name, schema) in all {
            let mut value = self.value(schema, depth - 1, None);
            let written: Vec<Value> = known
                .into_iter()
                .flatten()
                .filter_map(|fields| parsed(fields, name))
                .collect();
            if !written.is_empty() {
                value = Union::new_weighted(vec![(3, value), (1, select(written).boxed())]).boxed();
            }
            let value = match required.contains(&name) {
                true => value.prop_map(Some).boxed(),
                // A schema that contains itself ends somewhere.
                false if depth == 1 => Just(None).boxed(),
                false => option::of(value).boxed(),
            };
            let name = name.to_owned();
            object = (object, value)
                .prop_map(move |(mut object, value)| {
                    value
                        .into_iter()
                        .for_each(|value| drop(object.insert(name.clone(), value)));
                    object
                })
                .boxed();
        }
        // A map from names that nobody knows beforehand.
        if let Some(schema) = members.get("additionalProperties").filter(|schema| schema.is_object()) {
            let entries = vec(("[a-z]{1,4}", self.value(schema, depth - 1, None)), 0..3);
            object = (object, entries)
                .prop_map(|(object, entries)| entries.into_iter().chain(object).collect())
                .boxed();
        }
        object.prop_map(Value::Object).boxed()
    }

    fn array(&self, members: &Map<String, Value>, depth: usize) -> BoxedStrategy<Value> {
        let count = |keyword: &str| {
            members
                .get(keyword)
                .and_then(Value::as_u64)
                .and_then(|n| usize::try_from(n).ok())
        };
        let least = count("minItems").unwrap_or(0).min(32);
        let most = count("maxItems").unwrap_or(usize::MAX).clamp(least, least + 3);
        let most = if depth == 1 { least } else { most };
        let first = list(members, "prefixItems").into_iter().flatten();
        let first: Vec<_> = first.map(|schema| self.value(schema, depth - 1, None)).collect();
        let items = members
            .get("items")
            .map_or_else(scalar, |schema| self.value(schema, depth - 1, None));
        let rest = least.saturating_sub(first.len())..=most.saturating_sub(first.len());
        let is_set = members.get("uniqueItems") == Some(&Value::Bool(true));
        (first, vec(items, rest))
            .prop_map(move |(mut values, rest)| {
                for value in rest {
                    if !is_set || !values.contains(&value) {
                        values.push(value);
                    }
                }
                Value::Array(values)
            })
            .boxed()
    }

    /// One schema that demands what both do; of what clashes the second counts.
    fn merged(&self, mut into: Map<String, Value>, part: &Value) -> Map<String, Value> {
        let target = part
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|target| target.strip_prefix('#'));
        let part = target.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(part);
        for (keyword, value) in part.as_object().into_iter().flatten() {
            match (into.get_mut(keyword), value) {
                (Some(Value::Object(known)), Value::Object(more)) => {
                    known.extend(more.iter().map(|(name, schema)| (name.clone(), schema.clone())));
                }
                (Some(Value::Array(known)), Value::Array(more)) if keyword == "required" => {
                    known.extend(more.iter().cloned());
                }
                _ => drop(into.insert(keyword.clone(), value.clone())),
            }
        }
        into
    }
}

fn parsed(fields: &Fields, name: &str) -> Option<Value> {
    serde_json::from_str(fields.get(name)?.get()).ok()
}

fn list<'a>(members: &'a Map<String, Value>, keyword: &str) -> Option<&'a Vec<Value>> {
    members.get(keyword)?.as_array().filter(|values| !values.is_empty())
}

fn without(members: &Map<String, Value>, keyword: &str) -> Map<String, Value> {
    let mut members = members.clone();
    members.shift_remove(keyword);
    members
}

/// The type that a schema means without saying so.
fn implied(members: &Map<String, Value>) -> Option<&'static str> {
    const KEYWORDS: [(&str, &[&str]); 4] = [
        ("object", &["properties", "required", "additionalProperties"]),
        ("array", &["items", "prefixItems", "minItems"]),
        ("string", &["pattern", "format", "minLength", "maxLength"]),
        (
            "number",
            &[
                "minimum",
                "maximum",
                "exclusiveMinimum",
                "exclusiveMaximum",
                "multipleOf",
            ],
        ),
    ];
    let kind = KEYWORDS
        .iter()
        .find(|(_, words)| words.iter().any(|word| members.contains_key(*word)));
    kind.map(|(kind, _)| *kind)
}

/// Where anything is allowed.
fn scalar() -> BoxedStrategy<Value> {
    let none = Map::new();
    Union::new([
        string(&none),
        integer(&none),
        any::<bool>().prop_map(Value::from).boxed(),
    ])
    .boxed()
}

fn string(members: &Map<String, Value>) -> BoxedStrategy<Value> {
    let written = members.get("pattern").and_then(Value::as_str).and_then(matching);
    let formatted = || members.get("format").and_then(Value::as_str).and_then(formatted);
    if let Some(strings) = written.or_else(formatted) {
        return strings.prop_map(Value::from).boxed();
    }
    let length = |keyword: &str| members.get(keyword).and_then(Value::as_u64);
    let least = length("minLength").unwrap_or(0).min(1000);
    let most = length("maxLength").unwrap_or(u64::MAX).clamp(least, least + 10);
    let of = |class: &str| matching(&format!("{class}{{{least},{most}}}"));
    let strings = [of("[a-z]"), of("[A-Za-z0-9 ]"), of("[ -~äß€]")];
    Union::new(strings.into_iter().flatten()).prop_map(Value::from).boxed()
}

/// Strings that a pattern matches. It need not be anchored: what it matches as a whole it also finds.
fn matching(pattern: &str) -> Option<BoxedStrategy<String>> {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let pattern = pattern
        .strip_suffix('$')
        .filter(|rest| !rest.ends_with('\\'))
        .unwrap_or(pattern);
    string_regex(pattern).ok().map(Strategy::boxed)
}

fn formatted(format: &str) -> Option<BoxedStrategy<String>> {
    const DATE: &str = "20[0-3][0-9]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])";
    const TIME: &str = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]";
    let pattern = match format {
        "date" => DATE.to_owned(),
        "time" => format!("{TIME}Z"),
        "date-time" => format!("{DATE}T{TIME}(\\.[0-9]{{3}})?(Z|[+-](0[0-9]|1[0-2]):00)"),
        "email" => "[a-z]{1,6}@[a-z]{1,6}\\.example".to_owned(),
        "hostname" => "[a-z]{1,6}\\.example".to_owned(),
        "uri" | "iri" | "uri-reference" => "https://[a-z]{1,6}\\.example/[a-z]{0,4}".to_owned(),
        "uuid" => "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}".to_owned(),
        "ipv4" => "10\\.[0-9]\\.[0-9]\\.[0-9]".to_owned(),
        "duration" => "P[1-9]D".to_owned(),
        _ => return None,
    };
    matching(&pattern)
}

/// The numbers between which a schema's lie, in steps of 1 / `scale`.
fn range(members: &Map<String, Value>, scale: i64) -> (i64, i64) {
    let limit = |keyword: &str| members.get(keyword).and_then(Value::as_f64);
    // Beyond this they are all alike.
    let scaled = |limit: f64| (limit * scale as f64).clamp(-1e15, 1e15);
    let least = limit("minimum").map(|least| scaled(least).ceil() as i64);
    let least = least.max(limit("exclusiveMinimum").map(|least| scaled(least).floor() as i64 + 1));
    let most = limit("maximum").map(|most| scaled(most).floor() as i64);
    let above = limit("exclusiveMaximum").map(|most| scaled(most).ceil() as i64 - 1);
    let most = most.into_iter().chain(above).min();
    let width = 1000 * scale;
    let least = least.unwrap_or_else(|| most.map_or(-width, |most| most.min(0) - width));
    let most = most.unwrap_or_else(|| least.max(0) + width);
    (least, most.max(least))
}

fn integer(members: &Map<String, Value>) -> BoxedStrategy<Value> {
    let (least, most) = range(members, 1);
    match members
        .get("multipleOf")
        .and_then(Value::as_i64)
        .filter(|step| *step > 1)
    {
        Some(step) => (least.div_euclid(step)..=most.div_euclid(step))
            .prop_map(move |n| Value::from(n * step))
            .boxed(),
        None => (least..=most).prop_map(Value::from).boxed(),
    }
}

/// Whole numbers, and some with decimals as people write them.
fn number(members: &Map<String, Value>) -> BoxedStrategy<Value> {
    let (least, most) = range(members, 100);
    let decimal = |n: i64| Number::from_f64(n as f64 / 100.0).map_or(Value::Null, Value::Number);
    match members
        .get("multipleOf")
        .and_then(Value::as_f64)
        .filter(|step| *step > 0.0)
    {
        Some(step) => {
            let of = |limit: i64| (limit as f64 / 100.0 / step) as i64;
            (of(least)..=of(most).max(of(least)))
                .prop_map(move |n| Number::from_f64(n as f64 * step).map_or(Value::Null, Value::Number))
                .boxed()
        }
        None => Union::new([integer(members), (least..=most).prop_map(decimal).boxed()]).boxed(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        strategy::ValueTree,
        test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
    };

    use serde_json::json;

    use super::*;
    use crate::schema::{IdPattern, pattern::DEFAULT};

    fn class(definition: Value) -> Class {
        let name = "a@1".parse().unwrap();
        let pattern = IdPattern::new(DEFAULT, &name).unwrap();
        let class = Class::new(name, semver::Version::new(1, 0, 0), pattern);
        class.with_definition(definition).unwrap()
    }

    /// Every document that is made fits: the strategy's filter would fail it otherwise. What is asked is whether enough are made.
    fn made(definition: Value) -> Vec<Value> {
        let class = class(definition);
        let documents = documents(&class, &[]).unwrap();
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let made = (0..200).map(|_| documents.new_tree(&mut runner).expect("too few fit").current());
        made.map(|fields| serde_json::to_value(&fields).unwrap()).collect()
    }

    #[test]
    fn documents_are_as_varied_as_their_schema() {
        let made = made(json!({
            "type": "object",
            "required": ["title", "size", "kind"],
            "properties": {
                "_id": { "type": "string" },
                "schema": { "const": "a" },
                "version": { "const": 1 },
                "title": { "type": "string", "minLength": 1, "maxLength": 3 },
                "size": { "type": "integer", "exclusiveMinimum": 0, "multipleOf": 5 },
                "price": { "type": ["number", "null"], "maximum": 7.5 },
                "kind": { "enum": ["x", "y"] },
                "code": { "type": "string", "pattern": "^[A-Z]{2}-[0-9]+$" },
                "at": { "type": "string", "format": "date-time" },
                "tags": { "type": "array", "items": { "$ref": "#/$defs/tag" }, "minItems": 1, "uniqueItems": true },
                "to": { "oneOf": [{ "type": "string" }, { "type": "object", "required": ["city"], "properties": { "city": { "type": "string" } } }] }
            },
            "additionalProperties": false,
            "$defs": { "tag": { "enum": ["red", "green", "blue", "white"] } }
        }));
        for name in ["price", "code", "at", "tags", "to"] {
            let with = made.iter().filter(|document| document.get(name).is_some()).count();
            assert!((20..180).contains(&with), "{name}: {with}");
        }
        for kind in ["x", "y"] {
            assert!(made.iter().any(|document| document["kind"] == kind));
        }
        assert!(made.iter().any(|document| document["to"].is_object()));
        assert!(made.iter().any(|document| document["to"].is_string()));
        assert!(made.iter().any(|document| document["price"].is_f64()));
        assert!(made.iter().all(|document| document.get("schema").is_none()));
    }

    #[test]
    fn what_is_not_understood_is_left_to_the_filter() {
        let both = json!({
            "required": ["kind", "n"],
            "properties": { "kind": { "enum": ["a", "b"] }, "n": { "type": "integer" } },
            "if": { "properties": { "kind": { "const": "a" } } },
            "then": { "properties": { "n": { "minimum": 0 } } },
            "not": { "required": ["other"] }
        });
        assert!(made(both).iter().any(|document| document["kind"] == "a"));
    }

    #[test]
    fn schemas_that_contain_themselves_end() {
        let tree = json!({
            "required": ["children"],
            "properties": { "children": { "type": "array", "items": { "$ref": "#" } } }
        });
        let fits_none = class(json!({ "required": ["x"], "properties": { "x": false } }));
        let mut runner = TestRunner::deterministic();
        assert!(documents(&fits_none, &[]).unwrap().new_tree(&mut runner).is_err());
        let class = class(tree);
        let documents = documents(&class, &[]).unwrap();
        assert!((0..50).all(|_| documents.new_tree(&mut runner).is_ok()));
    }
}
