//! Whether a lens makes what the far side's schema requires, and whether what the near side has arrives there.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{
    lens::{
        Lens,
        shape::{Presence, Shape},
    },
    schema::{Class, ClassId, Direction, Flaw, Place, Registry, Rule, older::modernized},
};

/// How deep schemas are followed.
const DEPTH: usize = 8;

/// Members that every document has.
const CARRIED: [&str; 3] = ["_id", "schema", "version"];

/// With one of these a schema says more of its properties than is looked at.
const OPAQUE: [&str; 12] = [
    "$dynamicRef",
    "$ref",
    "allOf",
    "anyOf",
    "dependentSchemas",
    "else",
    "if",
    "not",
    "oneOf",
    "patternProperties",
    "then",
    "unevaluatedProperties",
];

/// Every lens but scripts, in both directions. Nothing is said of classes whose schema names no properties or says more than is looked at.
pub fn lint(registry: &Registry, lenses: &[Lens]) -> Vec<(Place, Flaw)> {
    let mut flaws = Vec::new();
    let lenses = lenses.iter().enumerate();
    for (n, lens) in lenses.filter(|(_, lens)| !lens.is_script() && !lens.step().is_end()) {
        for to in Direction::BOTH {
            let (near, _) = lens.step().sides(to);
            let known = near.iter().map(|class| shape_of(registry.class(*class)));
            let Some(sources) = known.collect::<Option<Vec<Shape>>>() else {
                continue;
            };
            let outline = lens.outline(to, &sources);
            let from = names(registry, near);
            for (class, made) in &outline.targets {
                let class = registry.class(*class);
                // What newer apps have and older ones do not know does these no harm.
                let stranger = consumed(class, made, &from).filter(|_| to == Direction::Up);
                let told = produced(class, made, &from).into_iter().chain(stranger);
                flaws.extend(told.map(|flaw| (Place::Step(n), flaw)));
            }
            for loss in outline.losses.iter().filter(|loss| !loss.is_declared) {
                let what = format!("`{}` of {from} is lost: another field takes its name", loss.field);
                let mend = "rename it first, or `remove` it";
                flaws.push((Place::Step(n), Rule::NotConsumed.flaw("", what, mend)));
            }
        }
    }
    flaws
}

fn names(registry: &Registry, classes: &[ClassId]) -> String {
    let names = classes.iter().map(|class| registry.class(*class).name.to_string());
    names.collect::<Vec<_>>().join(" and ")
}

/// What the schema requires and nothing makes. What is only sometimes made comes to light when the laws are tried.
fn produced(class: &Class, made: &Shape, from: &str) -> Vec<Flaw> {
    let mut missing = Vec::new();
    let definition = modernized(&class.definition);
    required("", &definition, made, DEPTH, &mut missing);
    let flaw = |field: String| {
        let what = format!("{} requires `{field}`, and nothing of {from} becomes it", class.name);
        let mend = format!(
            "`add` it with a value, or `rename` to it what it was before; or take it out of `required` of {}",
            class.name
        );
        Rule::NotProduced.flaw("", what, mend)
    };
    missing.into_iter().map(flaw).collect()
}

fn required(within: &str, schema: &Value, made: &Shape, depth: usize, missing: &mut Vec<String>) {
    let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    for name in names.filter_map(Value::as_str).filter(|name| !CARRIED.contains(name)) {
        let Some(presence) = made.fields.get(name) else {
            missing.push(format!("{within}{name}"));
            continue;
        };
        let inner = schema.get("properties").and_then(|properties| properties.get(name));
        if let (Some(inner), Some(made), true) = (inner, &presence.inner, depth > 0) {
            required(&format!("{within}{name}/"), inner, made, depth - 1, missing);
        }
    }
}

/// What arrives and the schema does not know.
fn consumed(class: &Class, made: &Shape, from: &str) -> Option<Flaw> {
    let known = shape_of(class)?;
    let strangers = made.fields.keys().filter(|name| !known.fields.contains_key(*name));
    let strangers: BTreeSet<&str> = strangers.map(String::as_str).collect();
    if strangers.is_empty() {
        return None;
    }
    let listed: Vec<String> = strangers.iter().map(|name| format!("`{name}`")).collect();
    let what = format!(
        "{} of {from} arrives in {}, whose schema does not know it",
        listed.join(", "),
        class.name
    );
    let mend = format!("`rename` it, `remove` it, or add it to `properties` of {}", class.name);
    Some(Rule::NotConsumed.flaw("", what, mend))
}

/// What a class says of its documents. None if it names no property, or says more than is looked at.
fn shape_of(class: &Class) -> Option<Shape> {
    let definition = modernized(&class.definition);
    let members = definition.as_object()?;
    members.get("properties")?;
    object(members, DEPTH)
}

fn object(members: &Map<String, Value>, depth: usize) -> Option<Shape> {
    if depth == 0 || OPAQUE.iter().any(|keyword| members.contains_key(*keyword)) {
        return None;
    }
    if members.get("additionalProperties").is_some_and(Value::is_object) {
        return None;
    }
    let required = members.get("required").and_then(Value::as_array).into_iter().flatten();
    let required: BTreeSet<&str> = required.filter_map(Value::as_str).collect();
    let properties = members
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let described = properties.map(|(name, schema)| (name.as_str(), value(schema, depth - 1)));
    let mut shape = Shape::default();
    for (name, presence) in required
        .iter()
        .map(|name| (*name, Presence::default()))
        .chain(described)
    {
        if !CARRIED.contains(&name) && !name.starts_with('_') {
            let required = required.contains(name);
            shape = shape.with(name, Presence { required, ..presence });
        }
    }
    Some(shape)
}

fn value(schema: &Value, depth: usize) -> Presence {
    let Some(members) = schema.as_object() else {
        return Presence::default();
    };
    let is = |kind: &str| members.get("type").is_some_and(|declared| declared == kind);
    Presence {
        required: true,
        inner: object(members, depth).filter(|_| is("object") && members.contains_key("properties")),
        items: members
            .get("items")
            .filter(|_| is("array"))
            .map(|items| Box::new(value(items, depth.saturating_sub(1)))),
    }
}
