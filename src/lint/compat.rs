//! What a change of a class means for apps that are released: they read what newer ones write, and newer ones read what they write.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::schema::older::modernized;

/// How far a change reaches, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Impact {
    /// Words for people.
    Wording,
    /// Released apps need not know of it.
    Addition,
    /// Released apps may come upon what they do not expect.
    Risk,
    /// Released apps write what does not fit any more, or miss what they count on.
    Break,
}

/// One change of a JSON Schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// How far it reaches.
    pub impact: Impact,
    /// Where, as a JSON pointer into the new schema.
    pub at: String,
    /// What has changed.
    pub what: String,
}

/// Members that mean nothing to documents.
const WORDING: [&str; 8] = [
    "$comment",
    "$id",
    "$schema",
    "default",
    "deprecated",
    "description",
    "examples",
    "title",
];

/// Limits that take more the smaller they are.
const LEAST: [&str; 5] = ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"];

/// Limits that take more the greater they are.
const MOST: [&str; 5] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"];

/// Every change from one JSON Schema to another. What is not understood is a risk.
pub fn changes(old: &Value, new: &Value) -> Vec<Change> {
    let mut compared = Compared(Vec::new());
    compared.schemas("", &modernized(old), &modernized(new));
    compared.0
}

struct Compared(Vec<Change>);

impl Compared {
    fn note(&mut self, impact: Impact, at: &str, what: impl Into<String>) {
        let (at, what) = (at.to_owned(), what.into());
        self.0.push(Change { impact, at, what });
    }

    fn schemas(&mut self, at: &str, old: &Value, new: &Value) {
        if old == new {
            return;
        }
        let open = Map::new();
        let members = |schema: &Value| match schema {
            Value::Object(members) => Some(members.clone()),
            Value::Bool(true) => Some(open.clone()),
            _ => None,
        };
        match (members(old), members(new)) {
            (Some(old), Some(new)) => self.members(at, &old, &new),
            (_, None) => self.note(Impact::Break, at, "takes nothing any more"),
            (None, _) => self.note(Impact::Risk, at, "takes what it did not take before"),
        }
    }

    fn members(&mut self, at: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
        let keywords: BTreeSet<&str> = old.keys().chain(new.keys()).map(String::as_str).collect();
        let place = |keyword: &str| format!("{at}/{keyword}");
        for keyword in keywords {
            let (was, is) = (old.get(keyword), new.get(keyword));
            if was == is {
                continue;
            }
            match keyword {
                _ if WORDING.contains(&keyword) => self.note(Impact::Wording, &place(keyword), "is worded anew"),
                "properties" => self.properties(at, old, new),
                "required" => self.required(at, old, new),
                "type" => self.types(&place(keyword), was, is),
                "enum" => self.values(&place(keyword), was, is),
                "items" | "additionalProperties" | "contains" | "propertyNames" => {
                    let open = Value::Bool(true);
                    self.schemas(&place(keyword), was.unwrap_or(&open), is.unwrap_or(&open));
                }
                _ if LEAST.contains(&keyword) || MOST.contains(&keyword) => {
                    let limit = |value: Option<&Value>| value.and_then(Value::as_f64);
                    let is_wider = match (limit(was), limit(is)) {
                        (_, None) => true,
                        (None, _) => false,
                        (Some(was), Some(is)) => (is < was) == LEAST.contains(&keyword),
                    };
                    self.narrowed(!is_wider, &place(keyword), was, is);
                }
                "const" | "pattern" | "format" | "multipleOf" | "uniqueItems" => {
                    self.narrowed(is.is_some(), &place(keyword), was, is);
                }
                _ => self.note(
                    Impact::Risk,
                    &place(keyword),
                    "has changed: what that means is not looked at",
                ),
            }
        }
    }

    fn narrowed(&mut self, is_narrower: bool, at: &str, was: Option<&Value>, is: Option<&Value>) {
        let text = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
        let (was, is) = (text(was), text(is));
        match is_narrower {
            true => self.note(
                Impact::Break,
                at,
                format!("was {was} and is {is}: takes less than before"),
            ),
            false => self.note(
                Impact::Risk,
                at,
                format!("was {was} and is {is}: takes more than released apps know"),
            ),
        }
    }

    fn properties(&mut self, at: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
        let of = |schema: &Map<String, Value>| schema.get("properties").and_then(Value::as_object).cloned();
        let (was, is) = (of(old).unwrap_or_default(), of(new).unwrap_or_default());
        for (name, schema) in &was {
            let place = format!("{at}/properties/{}", escaped(name));
            match is.get(name) {
                Some(now) => self.schemas(&place, schema, now),
                None => self.note(
                    Impact::Break,
                    &place,
                    format!("`{name}` is gone: released apps have it"),
                ),
            }
        }
        // One that has become required is told there.
        let required = names(new);
        for name in is
            .keys()
            .filter(|name| !was.contains_key(*name) && !required.contains(name.as_str()))
        {
            let place = format!("{at}/properties/{}", escaped(name));
            self.note(
                Impact::Addition,
                &place,
                format!("`{name}` is new and optional: safe for released apps"),
            );
        }
    }

    fn required(&mut self, at: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
        let (was, is) = (names(old), names(new));
        let at = format!("{at}/required");
        for name in is.difference(&was) {
            self.note(
                Impact::Break,
                &at,
                format!("`{name}` is required now: released apps do not write it"),
            );
        }
        let describes = |schema: &Map<String, Value>, name: &str| {
            schema
                .get("properties")
                .is_some_and(|properties| properties.get(name).is_some())
        };
        // A property that is gone is told there.
        let is_gone = |name: &str| describes(old, name) && !describes(new, name);
        for name in was.difference(&is).filter(|name| !is_gone(name)) {
            self.note(
                Impact::Break,
                &at,
                format!("`{name}` may be missing now: released apps count on it"),
            );
        }
    }

    fn types(&mut self, at: &str, was: Option<&Value>, is: Option<&Value>) {
        let kinds = |value: Option<&Value>| -> Option<BTreeSet<String>> {
            match value? {
                Value::String(kind) => Some([kind.clone()].into()),
                Value::Array(kinds) => Some(kinds.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
                _ => None,
            }
        };
        let takes = |kinds: &Option<BTreeSet<String>>, kind: &String| {
            let is_in =
                |kinds: &BTreeSet<String>| kinds.contains(kind) || kind == "integer" && kinds.contains("number");
            kinds.as_ref().is_none_or(is_in)
        };
        let (old, new) = (kinds(was), kinds(is));
        let is_narrower = match &old {
            None => true,
            Some(old) => !old.iter().all(|kind| takes(&new, kind)),
        };
        self.narrowed(is_narrower, at, was, is);
    }

    fn values(&mut self, at: &str, was: Option<&Value>, is: Option<&Value>) {
        let (Some(old), Some(new)) = (was.and_then(Value::as_array), is.and_then(Value::as_array)) else {
            return self.narrowed(is.is_some(), at, was, is);
        };
        for gone in old.iter().filter(|value| !new.contains(value)) {
            self.note(Impact::Break, at, format!("{gone} is gone: released apps write it"));
        }
        for added in new.iter().filter(|value| !old.contains(value)) {
            self.note(
                Impact::Risk,
                at,
                format!("{added} is new: released apps do not know it"),
            );
        }
    }
}

fn names(schema: &Map<String, Value>) -> BTreeSet<&str> {
    let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str).collect()
}

/// A member's name as a part of a JSON pointer (RFC 6901 3).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(old: Value, new: Value) -> Vec<(Impact, String)> {
        let changes = changes(&old, &new).into_iter();
        changes.map(|change| (change.impact, change.at)).collect()
    }

    #[test]
    fn what_released_apps_cannot_take_breaks() {
        let old = json!({
            "required": ["a", "b"],
            "properties": {
                "a": { "type": "string" },
                "b": { "type": ["number", "null"] },
                "c": { "enum": [1, 2] },
                "d": { "type": "object", "properties": { "e": { "maximum": 9 } } },
                "f": {}
            }
        });
        assert_eq!(told(old.clone(), old.clone()), []);
        let changed = |pointer: &str, value: Option<Value>| {
            let mut new = old.clone();
            let (parent, member) = pointer.rsplit_once('/').unwrap();
            let parent = new.pointer_mut(parent).unwrap();
            match (value, parent.as_array_mut()) {
                (Some(value), Some(items)) => items.push(value),
                (Some(value), None) => parent[member] = value,
                (None, _) => drop(parent.as_object_mut().unwrap().remove(member)),
            }
            let told = told(old.clone(), new);
            assert_eq!(told.len(), 1, "{pointer}: {told:?}");
            told[0].clone()
        };
        for (pointer, value, impact, at) in [
            ("/required/-", Some(json!("g")), Impact::Break, "/required"),
            ("/required", Some(json!(["a"])), Impact::Break, "/required"),
            ("/properties/f", None, Impact::Break, "/properties/f"),
            (
                "/properties/g",
                Some(json!({"type": "string"})),
                Impact::Addition,
                "/properties/g",
            ),
            (
                "/properties/a/type",
                Some(json!("integer")),
                Impact::Break,
                "/properties/a/type",
            ),
            (
                "/properties/a/type",
                Some(json!(["string", "null"])),
                Impact::Risk,
                "/properties/a/type",
            ),
            (
                "/properties/b/type",
                Some(json!("integer")),
                Impact::Break,
                "/properties/b/type",
            ),
            (
                "/properties/f/type",
                Some(json!("integer")),
                Impact::Break,
                "/properties/f/type",
            ),
            (
                "/properties/c/enum/-",
                Some(json!(3)),
                Impact::Risk,
                "/properties/c/enum",
            ),
            (
                "/properties/c/enum",
                Some(json!([1])),
                Impact::Break,
                "/properties/c/enum",
            ),
            (
                "/properties/a/pattern",
                Some(json!("^x")),
                Impact::Break,
                "/properties/a/pattern",
            ),
            (
                "/properties/d/properties/e/maximum",
                Some(json!(8)),
                Impact::Break,
                "/properties/d/properties/e/maximum",
            ),
            (
                "/properties/d/properties/e/maximum",
                Some(json!(10)),
                Impact::Risk,
                "/properties/d/properties/e/maximum",
            ),
            (
                "/additionalProperties",
                Some(json!(false)),
                Impact::Break,
                "/additionalProperties",
            ),
            (
                "/properties/a/description",
                Some(json!("words")),
                Impact::Wording,
                "/properties/a/description",
            ),
            ("/allOf", Some(json!([])), Impact::Risk, "/allOf"),
        ] {
            assert_eq!(changed(pointer, value), (impact, at.to_owned()));
        }
    }

    #[test]
    fn what_is_not_required_any_more_breaks_even_if_no_property_describes_it() {
        let told = told(json!({"required": ["a"]}), json!({"properties": {}}));
        assert_eq!(told, [(Impact::Break, "/required".to_owned())]);
    }

    #[test]
    fn a_wider_number_takes_every_integer() {
        let told = told(json!({"type": "integer"}), json!({"type": "number"}));
        assert_eq!(told, [(Impact::Risk, "/type".to_owned())]);
    }
}
