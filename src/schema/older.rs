//! Schemas in the style of draft 3, which older CouchDB apps have: `required: true` stands in the property itself. They are read as
//! what they mean today.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

/// The dialect that such a schema is read as.
pub const TODAY: &str = "https://json-schema.org/draft/2020-12/schema";

/// Members whose value is a schema, or a list of them.
const SCHEMAS: [&str; 14] = [
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "contains",
    "else",
    "if",
    "items",
    "not",
    "oneOf",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedProperties",
];

/// Members whose values are schemas by name.
const BY_NAME: [&str; 5] = [
    "$defs",
    "definitions",
    "dependentSchemas",
    "patternProperties",
    "properties",
];

/// The schema in today's words, if it declares draft 3 or none; one that declares another is left as it is.
///
/// | draft 3 | today |
/// | --- | --- |
/// | `"required": true` in a property | its name in `required` beside `properties` |
/// | `"type": "any"` | nothing |
/// | `"divisibleBy": 2` | `"multipleOf": 2` |
/// | `"exclusiveMinimum": true` beside `minimum`, and the same of `maximum` | `"exclusiveMinimum": 5` |
/// | `extends`, `disallow` | `allOf`, `not` |
pub fn modernized(schema: &Value) -> Cow<'_, Value> {
    let declared = schema.get("$schema").and_then(Value::as_str);
    if declared.is_some_and(|draft| !draft.contains("draft-03")) {
        return Cow::Borrowed(schema);
    }
    let mut schema = schema.clone();
    modernize(&mut schema);
    if declared.is_some() {
        schema["$schema"] = TODAY.into();
    }
    Cow::Owned(schema)
}

fn modernize(schema: &mut Value) {
    match schema {
        Value::Object(members) => modernize_members(members),
        Value::Array(schemas) => schemas.iter_mut().for_each(modernize),
        _ => {}
    }
}

fn modernize_members(members: &mut Map<String, Value>) {
    let required = required_in(members);
    if !required.is_empty() {
        let names = members.entry("required").or_insert_with(|| json!([]));
        if let Value::Array(names) = names {
            names.extend(required);
        }
    }
    if members.get("type") == Some(&json!("any")) {
        members.shift_remove("type");
    }
    if let Some(divisor) = members.shift_remove("divisibleBy") {
        members.insert("multipleOf".to_owned(), divisor);
    }
    for (exclusive, limit) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        match members.get(exclusive) {
            Some(Value::Bool(true)) if members.contains_key(limit) => {
                if let Some(limit) = members.shift_remove(limit) {
                    members.insert(exclusive.to_owned(), limit);
                }
            }
            Some(Value::Bool(false)) => {
                members.shift_remove(exclusive);
            }
            _ => {}
        }
    }
    if let Some(extended) = members.shift_remove("extends") {
        let extended = if extended.is_array() {
            extended
        } else {
            json!([extended])
        };
        members.insert("allOf".to_owned(), extended);
    }
    if let Some(disallowed) = members.shift_remove("disallow") {
        // Types, or a schema among them.
        let any = match disallowed {
            Value::Array(several) => several.into_iter().map(of_type).collect(),
            one => vec![of_type(one)],
        };
        members.insert("not".to_owned(), json!({ "anyOf": any }));
    }
    for (name, value) in members.iter_mut() {
        if SCHEMAS.contains(&&**name) {
            modernize(value);
        } else if let (true, Value::Object(named)) = (BY_NAME.contains(&&**name), value) {
            named.values_mut().for_each(modernize);
        }
    }
}

fn of_type(disallowed: Value) -> Value {
    if disallowed.is_string() {
        json!({ "type": disallowed })
    } else {
        disallowed
    }
}

/// The properties that say themselves that they are required.
fn required_in(members: &mut Map<String, Value>) -> Vec<Value> {
    let Some(Value::Object(properties)) = members.get_mut("properties") else {
        return Vec::new();
    };
    let mut required = Vec::new();
    for (name, property) in properties {
        let Value::Object(property) = property else { continue };
        if let Some(Value::Bool(is_required)) = property.get("required") {
            required.extend(is_required.then(|| Value::from(name.as_str())));
            property.shift_remove("required");
        }
    }
    required
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_style_of_draft_3_is_read_as_it_was_meant() {
        let old = json!({
            "type": "object",
            "properties": {
                "required": { "type": "string", "required": true, "indexed": true },
                "note": { "type": "any", "required": false },
                "price": { "type": "number", "minimum": 0, "exclusiveMinimum": true, "divisibleBy": 0.5 },
                "address": {
                    "required": true,
                    "properties": { "street": { "required": true } },
                    "disallow": ["null", { "minProperties": 9 }]
                },
            },
            "extends": { "properties": { "_id": { "required": true } } },
        });
        let new = json!({
            "type": "object",
            "properties": {
                "required": { "type": "string", "indexed": true },
                "note": {},
                "price": { "type": "number", "exclusiveMinimum": 0, "multipleOf": 0.5 },
                "address": {
                    "properties": { "street": {} },
                    "required": ["street"],
                    "not": { "anyOf": [{ "type": "null" }, { "minProperties": 9 }] }
                },
            },
            "required": ["required", "address"],
            "allOf": [{ "properties": { "_id": {} }, "required": ["_id"] }],
        });
        assert_eq!(*modernized(&old), new);
        assert_eq!(*modernized(&new), new, "what is of today stays");
    }

    #[test]
    fn a_schema_is_of_the_draft_that_it_declares() {
        let property = json!({ "a": { "required": true } });
        let fourth = json!({ "$schema": "http://json-schema.org/draft-04/schema#", "properties": &property });
        assert_eq!(*modernized(&fourth), fourth);
        let third = json!({ "$schema": "http://json-schema.org/draft-03/schema#", "properties": &property });
        assert_eq!(
            *modernized(&third),
            json!({ "$schema": TODAY, "properties": { "a": {} }, "required": ["a"] })
        );
    }
}
