//! What is known of documents before there are any: the fields that they have, and what a lens makes of these.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, value::RawValue};

use super::{Lens, PRIMARY, nested::ITSELF, sequence::Sequence};
use crate::schema::{ClassId, Direction};

/// The fields of an object that are known of. There may be others: those travel as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Each by its name.
    pub fields: BTreeMap<String, Presence>,
}

/// A field, or an element of an array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// It is always there.
    pub required: bool,
    /// If it is an object: its fields. None if it is none, or nothing is known.
    pub inner: Option<Shape>,
    /// If it is an array: its elements. None if it is none, or nothing is known.
    pub items: Option<Box<Presence>>,
}

/// A field that does not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Its name at the step where it ends, after those of the fields that it is nested in: `address/city`.
    pub field: String,
    /// The lens says so: a step names it as a field of the source's side alone. Otherwise another field took its name.
    pub is_declared: bool,
}

/// What a lens makes of shapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Of each class of the far side, in the order of the step.
    pub targets: Vec<(ClassId, Shape)>,
    /// What does not arrive in any of them.
    pub losses: Vec<Loss>,
}

impl Lens {
    /// The shapes of all that is made in a direction. `sources` are those of the near side, in the order of the step. A
    /// script has no outline: what it makes is not known before.
    pub fn outline(&self, to: Direction, sources: &[Shape]) -> Outline {
        if self.script.is_some() {
            return Outline::default();
        }
        let (near, far) = self.step.sides(to);
        let mut state = vec![Shape::default(); self.slots()];
        for (&class, source) in near.iter().zip(sources) {
            state[self.slot(class)] = source.clone();
        }
        let mut losses = Vec::new();
        let primary = &mut state[PRIMARY].fields;
        if to == Direction::Down {
            for share in &self.shares {
                if let Some(reference) = primary.remove(share.reference()) {
                    primary.insert(share.field.clone(), share.shown(reference.required));
                }
            }
        }
        self.steps.outline(to, &mut state, &mut losses);
        let primary = &mut state[PRIMARY].fields;
        if to == Direction::Up {
            for share in &self.shares {
                if let Some(Presence { required, .. }) = primary.remove(&share.field) {
                    let reference = Presence {
                        required,
                        ..Presence::default()
                    };
                    primary.insert(share.reference.clone(), reference);
                }
            }
        }
        let targets = far.iter().map(|&class| (class, state[self.slot(class)].clone()));
        Outline {
            targets: targets.collect(),
            losses,
        }
    }
}

impl Sequence {
    /// Takes shapes across, one for each document.
    pub fn outline(&self, to: Direction, state: &mut [Shape], losses: &mut Vec<Loss>) {
        for operation in self.in_order(to) {
            operation.outline(to, state, losses);
        }
    }

    /// The fields that arrive beside a value that is no object and stays one: there is no room for them, in either direction. Nothing
    /// is said of steps that do not name the value itself, nor of what depends on the value.
    pub fn homeless(&self) -> BTreeSet<String> {
        let mut homeless = BTreeSet::new();
        for to in Direction::BOTH.into_iter().filter(|_| self.sees(ITSELF)) {
            let mut state = [Shape::default().with(ITSELF, Presence::always())];
            self.outline(to, &mut state, &mut Vec::new());
            let [mut shape] = state;
            if shape.fields.remove(ITSELF).is_some_and(|itself| itself.required) {
                homeless.extend(shape.fields.into_keys());
            }
        }
        homeless
    }

    /// Takes a nested value across.
    pub fn outline_value(&self, to: Direction, field: &str, value: Presence, losses: &mut Vec<Loss>) -> Presence {
        let required = value.required;
        let mut state = [match value.inner {
            Some(inner) if !inner.fields.contains_key(ITSELF) => inner,
            _ => Shape::default().with(
                ITSELF,
                Presence {
                    required: true,
                    ..value
                },
            ),
        }];
        let mut inner = Vec::new();
        self.outline(to, &mut state, &mut inner);
        losses.extend(inner.into_iter().map(|loss| Loss {
            field: format!("{field}/{}", loss.field),
            ..loss
        }));
        let [mut shape] = state;
        match shape.fields.remove(ITSELF) {
            Some(itself) => Presence { required, ..itself },
            None => Presence {
                required,
                inner: Some(shape),
                items: None,
            },
        }
    }
}

impl Shape {
    /// With another field.
    pub fn with(mut self, name: &str, presence: Presence) -> Self {
        self.fields.insert(name.to_owned(), presence);
        self
    }

    /// A field takes this name. One that has it already is lost.
    pub fn set(&mut self, name: &str, presence: Option<Presence>, losses: &mut Vec<Loss>) {
        self.end(name, false, losses);
        if let Some(presence) = presence {
            self.fields.insert(name.to_owned(), presence);
        }
    }

    /// A field ends here.
    pub fn end(&mut self, name: &str, is_declared: bool, losses: &mut Vec<Loss>) {
        if self.fields.remove(name).is_some() {
            losses.push(Loss {
                field: name.to_owned(),
                is_declared,
            });
        }
    }

    /// What holds of documents of either shape.
    pub fn or(mut self, mut other: Self) -> Self {
        for (name, presence) in &mut self.fields {
            *presence = match other.fields.remove(name) {
                Some(other) => std::mem::take(presence).or(other),
                None => std::mem::take(presence).maybe(),
            };
        }
        let others = other.fields.into_iter();
        self.fields
            .extend(others.map(|(name, presence)| (name, presence.maybe())));
        self
    }
}

impl Presence {
    /// Always there, and nothing else is known.
    pub fn always() -> Self {
        Self {
            required: true,
            ..Self::default()
        }
    }

    /// Of a constant, as JSON: always there.
    pub fn of_text(value: &RawValue) -> Self {
        serde_json::from_str(value.get()).map_or_else(|_| Self::always(), |value| Self::of(&value))
    }

    /// Of a constant: always there.
    pub fn of(value: &Value) -> Self {
        let inner = value.as_object().map(|members| Shape {
            fields: members
                .iter()
                .map(|(name, value)| (name.clone(), Self::of(value)))
                .collect(),
        });
        Self {
            required: true,
            inner,
            items: None,
        }
    }

    /// The same, but not always there.
    pub fn maybe(self) -> Self {
        Self {
            required: false,
            ..self
        }
    }

    /// What holds of either.
    pub fn or(self, other: Self) -> Self {
        Self {
            required: self.required && other.required,
            inner: self.inner.zip(other.inner).map(|(a, b)| a.or(b)),
            items: self.items.zip(other.items).map(|(a, b)| Box::new(a.or(*b))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lens::LensFile,
        schema::{
            ClassName,
            Direction::{Down, Up},
        },
    };

    /// A shape as JSON: `!` marks what is always there.
    fn shown(shape: &Shape) -> String {
        let fields = shape
            .fields
            .iter()
            .map(|(name, presence)| format!("{name}{}", shown_value(presence)));
        fields.collect::<Vec<_>>().join(" ")
    }

    fn shown_value(presence: &Presence) -> String {
        let mark = if presence.required { "!" } else { "" };
        let inner = presence.inner.as_ref().map(|inner| format!("{{{}}}", shown(inner)));
        let items = presence.items.as_ref().map(|items| format!("[{}]", shown_value(items)));
        format!("{mark}{}{}", inner.unwrap_or_default(), items.unwrap_or_default())
    }

    fn across(steps: &str, to: Direction, source: Shape) -> (String, Vec<Loss>) {
        let classes = ["a@1", "a@2"];
        let look_up = |name: &ClassName| classes.iter().position(|class| *class == name.to_string()).map(ClassId);
        let file = format!("{{old: a@1, new: a@2, steps: [{steps}]}}");
        let lens = serde_saphyr::from_str::<LensFile>(&file)
            .unwrap()
            .compile(&look_up)
            .unwrap();
        let outline = lens.outline(to, &[source]);
        (shown(&outline.targets[0].1), outline.losses)
    }

    fn of(json: Value) -> Shape {
        Presence::of(&json).inner.unwrap()
    }

    #[test]
    fn every_operation_takes_shapes_across() {
        let nested = || of(serde_json::json!({"name": "x", "address": {"city": 1, "zip": 1}}));
        let list = || Presence {
            required: true,
            inner: None,
            items: Some(Box::new(Presence::always())),
        };
        for (steps, to, source, expected) in [
            (
                "rename: {from: name, to: title}",
                Up,
                nested(),
                "address!{city! zip!} title!",
            ),
            (
                "rename: {from: name, to: title}",
                Down,
                nested(),
                "address!{city! zip!}",
            ),
            (
                "add: {field: group, value: {a: 1}}",
                Up,
                nested(),
                "address!{city! zip!} group!{a!} name!",
            ),
            ("add: {field: name, value: x}", Down, nested(), "address!{city! zip!}"),
            (
                "constant: {field: name, new: 1}",
                Up,
                nested(),
                "address!{city! zip!} name!",
            ),
            (
                "constant: {field: name, new: 1}",
                Down,
                nested(),
                "address!{city! zip!}",
            ),
            (
                "convert: {field: address, values: [[1, 2]]}",
                Up,
                nested(),
                "address! name!",
            ),
            (
                "convert: {field: size, values: [[1, 2]], otherwise: {old: 1, new: 2}}",
                Up,
                nested(),
                "address!{city! zip!} name! size!",
            ),
            (
                "hoist: {field: city, from: address}",
                Up,
                nested(),
                "address!{zip!} city! name!",
            ),
            (
                "plunge: {field: name, into: address}",
                Up,
                nested(),
                "address!{city! name! zip!}",
            ),
            (
                "plunge: {field: name, into: who}",
                Up,
                nested(),
                "address!{city! zip!} who!{name!}",
            ),
            (
                "plunge: {field: name, into: who}",
                Down,
                of(serde_json::json!({"who": {"name": 1}})),
                "name!",
            ),
            ("wrap: {field: name}", Up, nested(), "address!{city! zip!} name![!]"),
            ("wrap: {field: l}", Down, Shape::default().with("l", list()), "l"),
            (
                "within: {field: address, steps: [{rename: {from: zip, to: code}}]}",
                Up,
                nested(),
                "address!{city! code!} name!",
            ),
            (
                "within: {field: name, steps: [{rename: {from: ., to: first}}]}",
                Up,
                nested(),
                "address!{city! zip!} name!{first!}",
            ),
            (
                "map: {field: l, steps: [{rename: {from: ., to: number}}, {add: {field: kind, value: x}}]}",
                Up,
                Shape::default().with("l", list()),
                "l![!{kind! number!}]",
            ),
            (
                "copy: {field: name, to: label, resolve: copy}",
                Up,
                nested(),
                "address!{city! zip!} label! name!",
            ),
            (
                "split: {field: name, into: [first, last]}",
                Up,
                nested(),
                "address!{city! zip!} first! last!",
            ),
            (
                "join: {fields: [first, name], into: whole}",
                Up,
                nested(),
                "address!{city! zip!} whole!",
            ),
            (
                "when: {field: kind, is: x, steps: [{rename: {from: name, to: title}}]}",
                Up,
                nested(),
                "address!{city! zip!} name title",
            ),
        ] {
            assert_eq!(
                across(&format!("{{{steps}}}"), to, source).0,
                expected,
                "{steps} {to:?}"
            );
        }
    }

    #[test]
    fn what_ends_is_told() {
        let source = || of(serde_json::json!({"a": 1, "b": 1, "o": {"c": 1}}));
        let loss = |field: &str, is_declared| Loss {
            field: field.to_owned(),
            is_declared,
        };
        for (steps, expected) in [
            ("remove: {field: a, value: 1}", vec![loss("a", true)]),
            ("remove: {field: z, value: 1}", vec![]),
            ("rename: {from: a, to: b}", vec![loss("b", false)]),
            (
                "within: {field: o, steps: [{remove: {field: c, value: 1}}]}",
                vec![loss("o/c", true)],
            ),
        ] {
            assert_eq!(across(&format!("{{{steps}}}"), Up, source()).1, expected, "{steps}");
        }
    }
}
