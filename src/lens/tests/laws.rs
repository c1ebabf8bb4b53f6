//! The laws, on generated documents and generated lenses.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use super::*;
use crate::lens::shape::{Presence, Shape};

/// Few names, so that operations meet in one field.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "kind"];

/// Which operations are generated.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Which {
    /// All of them.
    All,
    /// None that works on a field of an earlier one.
    Apart,
    /// Those that make no objects of single values: what is not known to be an object may be one.
    Outlined,
}

fn name(is_nested: bool) -> BoxedStrategy<String> {
    let plain = select(NAMES.as_slice()).prop_map(str::to_owned);
    match is_nested {
        true => prop_oneof![4 => plain, 1 => Just(".".to_owned())].boxed(),
        false => plain.boxed(),
    }
}

fn scalar() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "x",
        "y",
        "x y",
        "x y z",
        " x",
        "1",
        "true",
        "1.50",
        "2026-03-01",
        "2026-03-01T12:00:00Z",
        "01.03.2026",
    ];
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-2i64..3).prop_map(Value::from),
        select(vec![
            json!(1.0),
            json!(12.1),
            json!(0.005),
            json!(1e300),
            json!(i64::MIN),
            json!(u64::MAX)
        ]),
        select(texts.to_vec()).prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            object(name(true), inner)
        ]
    })
}

fn object(
    names: impl Strategy<Value = String> + 'static,
    values: impl Strategy<Value = Value> + 'static,
) -> impl Strategy<Value = Value> {
    proptest::collection::btree_map(names, values, 0..4)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

fn document() -> impl Strategy<Value = Fields> {
    object(
        select([NAMES.as_slice(), &["other"]].concat()).prop_map(str::to_owned),
        value(),
    )
    .prop_map(|document| fields(&document.to_string()))
}

fn conversion() -> impl Strategy<Value = Value> {
    let table = vec((scalar(), scalar()).prop_map(|(old, new)| json!([old, new])), 1..4);
    let types = || select(vec!["string", "number", "boolean"]);
    let formats = || select(vec!["iso", "seconds", "milliseconds", "%d.%m.%Y"]);
    let ways = prop_oneof![
        table.prop_map(|rows| json!({"values": rows})),
        (types(), types()).prop_map(|(old, new)| json!({"cast": {"old": old, "new": new}})),
        (select(vec![100.0, 0.25, 2.54, -3.0]), 0u32..4, 0u32..4).prop_map(
            |(factor, old, new)| json!({"factor": factor, "offset": 1, "decimals": {"old": old, "new": new}})
        ),
        (formats(), formats()).prop_map(|(old, new)| json!({"date": {"old": old, "new": new}})),
    ];
    let otherwise = prop_oneof![
        Just(json!({})),
        Just(json!("unchanged")),
        (scalar(), scalar()).prop_map(|(old, new)| json!({"old": old, "new": new})),
    ];
    (ways, otherwise).prop_map(|(mut way, otherwise)| {
        way["otherwise"] = otherwise;
        way
    })
}

fn steps(which: Which, is_nested: bool, depth: u32) -> BoxedStrategy<Vec<Value>> {
    let steps = vec(step(which, is_nested, depth), 0..4);
    match which {
        Which::All | Which::Outlined => steps.boxed(),
        Which::Apart => steps.prop_map(apart).boxed(),
    }
}

/// Without the steps that work on a field of an earlier one: of what a step makes of a field that is another's own, PutGet says nothing.
fn apart(mut steps: Vec<Value>) -> Vec<Value> {
    let mut seen = Vec::new();
    steps.retain(|step| {
        let names = names(step);
        let is_apart = names.iter().all(|name| !seen.contains(name));
        seen.extend(names);
        is_apart
    });
    steps
}

/// The fields that a step names, in this document or nested value.
fn names(step: &Value) -> Vec<String> {
    let members = step.as_object().into_iter().flatten().flat_map(|(operation, form)| {
        let members = form.as_object().into_iter().flatten();
        members.filter(move |(member, _)| operation == "when" || !["steps", "by"].contains(&member.as_str()))
    });
    members
        .flat_map(|(member, value)| match (member.as_str(), value) {
            ("field" | "from" | "to" | "into", Value::String(name)) => vec![name.clone()],
            ("into" | "fields", Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
            }
            ("steps" | "otherwise", Value::Array(steps)) => steps.iter().flat_map(names).collect(),
            _ => Vec::new(),
        })
        .collect()
}

fn step(which: Which, is_nested: bool, depth: u32) -> BoxedStrategy<Value> {
    let name = || self::name(is_nested && which != Which::Outlined);
    let only = || {
        prop_oneof![
            (name(), scalar()).prop_map(|(field, value)| json!({"field": field, "value": value})),
            (name(), name()).prop_map(|(field, of)| json!({"field": field, "template": format!("{{{of}}}-{{$key}}")})),
            name().prop_map(|field| json!({"field": field, "optional": true})),
        ]
    };
    let removed = || select(vec!["first", "all"]);
    let resolve = vec!["original", "copy", "changed"];
    let flat = prop_oneof![
        (name(), name()).prop_map(|(from, to)| json!({"rename": {"from": from, "to": to}})),
        only().prop_map(|only| json!({"add": only})),
        only().prop_map(|only| json!({"remove": only})),
        (name(), conversion()).prop_map(|(field, mut way)| {
            way["field"] = field.into();
            json!({"convert": way})
        }),
        (name(), name()).prop_map(|(field, from)| json!({"hoist": {"field": field, "from": from}})),
        (name(), name()).prop_map(|(field, into)| json!({"plunge": {"field": field, "into": into}})),
        (name(), removed()).prop_map(|(field, removed)| json!({"wrap": {"field": field, "removed": removed}})),
        (name(), removed()).prop_map(|(field, removed)| json!({"head": {"field": field, "removed": removed}})),
        (name(), name(), select(resolve))
            .prop_map(|(field, to, resolve)| json!({"copy": {"field": field, "to": to, "resolve": resolve}})),
        (name(), name(), name(), select(vec!["first", "last"]))
            .prop_map(|(field, x, y, at)| json!({"split": {"field": field, "into": [x, y], "at": at}})),
        (name(), name(), name()).prop_map(|(x, y, into)| json!({"join": {"fields": [x, y], "into": into}})),
        (name(), scalar(), any::<bool>()).prop_map(|(field, value, is_new)| {
            let side = if is_new { "new" } else { "old" };
            json!({"constant": {"field": field, side: value}})
        }),
    ];
    if depth == 0 {
        return flat.boxed();
    }
    let by = || {
        prop_oneof![
            Just(json!(null)),
            (self::name(true), self::name(true)).prop_map(|(old, new)| json!({"old": old, "new": new})),
        ]
    };
    let condition = prop_oneof![
        vec(scalar(), 1..3).prop_map(|values| json!({"among": values})),
        any::<bool>().prop_map(|exists| json!({"exists": exists})),
    ];
    prop_oneof![
        5 => flat,
        1 => (name(), steps(which, true, depth - 1))
            .prop_map(|(field, steps)| json!({"within": {"field": field, "steps": steps}})),
        1 => (name(), by(), steps(which, true, depth - 1))
            .prop_map(|(field, by, steps)| json!({"map": {"field": field, "by": by, "steps": steps}})),
        1 => (name(), condition, steps(which, is_nested, depth - 1), steps(which, is_nested, depth - 1)).prop_map(
            |(field, mut when, steps, otherwise)| {
                when["field"] = field.into();
                when["steps"] = steps.into();
                when["otherwise"] = otherwise.into();
                json!({"when": when})
            }
        ),
    ]
    .boxed()
}

/// Tells of the documents on the source's side, and those on the target's if there are any.
type IsDeclared = fn(Direction, &Fields, Option<&Fields>) -> bool;

/// A step that makes exceptions, all of it in the fields `a` and `b`, and what schemas/README.md says of them.
fn excepted() -> impl Strategy<Value = (Value, IsDeclared)> {
    fn parsed(fields: Option<&Fields>, name: &str) -> Option<Value> {
        Some(serde_json::from_str(fields?.get(name)?.get()).unwrap())
    }
    // The old side takes the value away, and there is a next one.
    let wrap: IsDeclared = |to, source, target| {
        let has_next = |array: Option<Value>| array.is_some_and(|array| array.as_array().is_some_and(|a| a.len() > 1));
        let is_none = parsed(Some(source), "a").is_none_or(|value| value.is_null());
        to == Up && is_none && has_next(parsed(target, "a"))
    };
    // The two differ.
    let copy: IsDeclared = |to, source, target| {
        let new = if to == Up { target } else { Some(source) };
        parsed(new, "a") != parsed(new, "b")
    };
    // The side that has the constant has something else.
    let constant: IsDeclared = |to, source, _| to == Down && parsed(Some(source), "a") != Some(json!("x"));
    prop_oneof![
        Just((json!({"wrap": {"field": "a"}}), wrap)),
        Just((json!({"copy": {"field": "a", "to": "b", "resolve": "changed"}}), copy)),
        Just((json!({"constant": {"field": "a", "new": "x"}}), constant)),
    ]
}

/// Lenses that compile.
fn lens(which: Which) -> impl Strategy<Value = (String, Lens)> {
    steps(which, false, 2).prop_filter_map("has flaws", |steps| {
        let file = json!({"old": "todo-item@1", "new": "todo-item@2", "steps": steps});
        let lens = serde_json::from_value::<LensFile>(file)
            .unwrap()
            .compile(&look_up)
            .ok()?;
        Some((Value::from(steps).to_string(), lens))
    })
}

fn cross(lens: &Lens, to: Direction, source: &Fields, old: Option<&Fields>) -> Result<Fields, PutError> {
    let target = match to {
        Up => T2,
        Down => T1,
    };
    made(lens, to, target, &[Some(source)], old)
}

/// Whether an object has the fields that it always has, and none that is not known of.
fn holds(shape: &Shape, object: &Value) -> bool {
    let object = object.as_object().unwrap();
    let is_there = |(name, presence): (&String, &Presence)| !presence.required || object.contains_key(name);
    let is_known = |(name, value): (&String, &Value)| match shape.fields.get(name) {
        None => false,
        Some(Presence { inner: Some(inner), .. }) => !value.is_object() || holds(inner, value),
        Some(_) => true,
    };
    shape.fields.iter().all(is_there) && object.iter().all(is_known)
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 65_536, ..ProptestConfig::default() })]

    /// What was just got changes nothing when it is put back.
    #[test]
    fn get_put((steps, lens) in lens(Which::All), source in document()) {
        let lens = lens.lawful();
        for to in Direction::BOTH {
            let Ok(got) = cross(&lens, to, &source, None) else { continue };
            let back = cross(&lens, to.reverse(), &got, Some(&source));
            prop_assert!(
                back.as_ref().is_ok_and(|back| back.same_as(&source)),
                "{steps}\n{to:?} {source:?}\ngot {got:?}\nback {back:?}"
            );
        }
    }

    /// What was put can be got again, whatever the target was; so it is not taken for another edit.
    #[test]
    fn put_get((steps, lens) in lens(Which::Apart), source in document(), target in document()) {
        let lens = lens.lawful();
        for to in Direction::BOTH {
            let Ok(put) = cross(&lens, to, &source, Some(&target)) else { continue };
            let back = cross(&lens, to.reverse(), &put, Some(&source));
            prop_assert!(
                back.as_ref().is_ok_and(|back| back.same_as(&source)),
                "{steps}\n{to:?} {source:?}\ninto {target:?}\nput {put:?}\nback {back:?}"
            );
        }
    }

    /// A step makes an exception for the documents that its reference names, and for no others.
    #[test]
    fn exceptions_are_as_declared((step, is_declared) in excepted(), source in document(), target in document()) {
        let file = json!({"old": "todo-item@1", "new": "todo-item@2", "steps": [step]});
        let lens = serde_json::from_value::<LensFile>(file).unwrap().compile(&look_up).unwrap();
        for to in Direction::BOTH {
            for target in [None, Some(&target)] {
                let put = cross(&lens, to, &source, target).unwrap();
                let back = cross(&lens, to.reverse(), &put, Some(&source)).unwrap();
                let again = cross(&lens, to, &source, Some(&put)).unwrap();
                let holds = back.same_as(&source) && again.same_as(&put);
                prop_assert!(
                    holds || is_declared(to, &source, target),
                    "{to:?} {source:?}\ninto {target:?}\nput {put:?}\nback {back:?}\nagain {again:?}"
                );
            }
        }
    }

    /// What is told before there are documents holds of those that are made.
    #[test]
    fn outlines_hold((steps, lens) in lens(Which::Outlined), source in document()) {
        let json = serde_json::to_value(&source).unwrap();
        let shape = Presence::of(&json).inner.unwrap();
        for to in Direction::BOTH {
            let Ok(made) = cross(&lens, to, &source, None) else { continue };
            let outline = lens.outline(to, std::slice::from_ref(&shape));
            let made = serde_json::to_value(&made).unwrap();
            prop_assert!(
                holds(&outline.targets[0].1, &made),
                "{steps}\n{to:?} {json}\nmade {made}\noutline {outline:?}"
            );
        }
    }

    /// At every depth, what no operation touches keeps its text.
    #[test]
    fn untouched_text_stays((steps, lens) in lens(Which::All), source in document(), text in select(vec!["1.0", "1e2", "9007199254740993", "{\"z\": 1,\"a\":[2 ,3]}"])) {
        let untouched = |text: &str| serde_json::value::RawValue::from_string(text.to_owned()).unwrap();
        let mut source = source;
        source.set("untouched", untouched(text));
        for to in Direction::BOTH {
            let Ok(got) = cross(&lens, to, &source, None) else { continue };
            prop_assert_eq!(got.get("untouched").map(|value| value.get()), Some(text), "{}", steps);
        }
    }
}
