use serde_json::{Value, json, value::RawValue};

use super::*;
use crate::{
    lens::{
        LensFile, PutError,
        operation::{self, Edit},
        shape::{Loss, Shape},
    },
    schema::{Class, ClassName, IdPattern, pattern::DEFAULT},
};

/// What is told of lenses between a@1, a@2 and so on.
fn told(classes: &[Value], steps: &[Value], last: impl Fn(Lens) -> Lens) -> Vec<Rule> {
    let names: Vec<ClassName> = (1..=classes.len()).map(|n| format!("a@{n}").parse().unwrap()).collect();
    let class = |(name, definition): (&ClassName, &Value)| {
        let pattern = IdPattern::new(DEFAULT, name).unwrap();
        let class = Class::new(name.clone(), semver::Version::new(name.major, 0, 0), pattern);
        class.with_definition(definition.clone()).unwrap()
    };
    let look_up = |name: &ClassName| names.iter().position(|known| known == name).map(ClassId);
    let lens = |(n, steps): (usize, &Value)| {
        let file = json!({"old": names[n].to_string(), "new": names[n + 1].to_string(), "steps": steps});
        let file: LensFile = serde_json::from_value(file).unwrap();
        last(file.compile(&look_up).unwrap())
    };
    let lenses: Vec<Lens> = steps.iter().enumerate().map(lens).collect();
    let ties = lenses.iter().map(|lens| lens.step().clone()).collect();
    let registry = Registry::new(names.iter().zip(classes).map(class).collect(), ties).unwrap();
    let flaws = try_out(&registry, &lenses, 100).into_iter();
    flaws.map(|(_, flaw)| flaw.rule.unwrap()).collect()
}

fn class(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

fn text() -> Value {
    json!({"type": "string", "pattern": "^[a-zA-Z]{1,3}$"})
}

fn texts() -> Value {
    json!({"type": "array", "items": text()})
}

/// Old, new and steps: lenses whose steps make exceptions, wherever they stand.
fn excepted() -> Vec<(Value, Value, Value)> {
    let phone = |phone: Value| class(json!({"phone": phone, "name": text()}));
    let person = |held: Value| class(json!({"person": phone(held)}));
    let people = |held: Value| class(json!({"people": {"type": "array", "items": phone(held)}}));
    let two = class(json!({"name": text(), "shown": text()}));
    let kinds = |kind: Value| class(json!({"name": text(), "kind": kind}));
    let wrap = json!([{"wrap": {"field": "phone"}}]);
    vec![
        (phone(text()), phone(texts()), wrap.clone()),
        (phone(texts()), phone(text()), json!([{"head": {"field": "phone"}}])),
        (
            person(text()),
            person(texts()),
            json!([{"within": {"field": "person", "steps": wrap}}]),
        ),
        (
            people(text()),
            people(texts()),
            json!([{"map": {"field": "people", "steps": wrap}}]),
        ),
        (
            phone(text()),
            phone(texts()),
            json!([{"when": {"field": "name", "exists": true, "steps": wrap, "otherwise": wrap}}]),
        ),
        (
            class(json!({"name": text()})),
            two,
            json!([{"copy": {"field": "name", "to": "shown", "resolve": "changed"}}]),
        ),
        (
            class(json!({"name": text()})),
            kinds(json!({"enum": ["task", "note"]})),
            json!([{"constant": {"field": "kind", "new": "task"}}]),
        ),
        (
            kinds(text()),
            kinds(text()),
            json!([{"constant": {"field": "kind", "old": "x", "new": "y"}}]),
        ),
    ]
}

#[test]
fn declared_exceptions_break_no_law() {
    for (old, new, steps) in excepted() {
        assert_eq!(
            told(&[old, new], std::slice::from_ref(&steps), |lens| lens),
            [],
            "{steps}"
        );
    }
}

/// Old clients are shown small letters, and the capitals are not kept: nothing declares that.
#[derive(Debug)]
struct Lossy;

impl Edit for Lossy {
    fn put(&self, at: operation::Crossing, here: &mut Fields, _: Option<&Fields>) -> Result<(), PutError> {
        if at.to == Direction::Down
            && let Some(text) = here.get("case").map(|value| value.get().to_lowercase())
        {
            here.set("case", RawValue::from_string(text).unwrap());
        }
        Ok(())
    }

    fn outline(&self, _: Direction, _: &mut Shape, _: &mut Vec<Loss>) {}

    fn touches(&self) -> Vec<&str> {
        vec!["case"]
    }
}

/// On the very documents for which a step makes an exception, too: of a constant on both sides, that is nearly each.
#[test]
fn a_break_that_is_not_declared_is_found_beside_an_exception() {
    for (mut old, mut new, steps) in excepted() {
        for class in [&mut old, &mut new] {
            class["properties"]["case"] = json!({"enum": ["a", "A"]});
        }
        let told = told(&[old, new], std::slice::from_ref(&steps), |lens| lens.with_edit(Lossy));
        let broken = |rule| told.contains(&rule);
        assert!(broken(Rule::GetPut) || broken(Rule::PutGet), "{steps} {told:?}");
    }
}

#[test]
fn chains_know_of_exceptions_too() {
    let kinds = class(json!({"name": text(), "kind": text()}));
    let chain = [
        kinds.clone(),
        class(json!({"name": text()})),
        class(json!({"title": text()})),
    ];
    let steps = [
        json!([{"constant": {"field": "kind", "old": "x"}}]),
        json!([{"rename": {"from": "name", "to": "title"}}]),
    ];
    assert_eq!(told(&chain, &steps, |lens| lens), []);
}
