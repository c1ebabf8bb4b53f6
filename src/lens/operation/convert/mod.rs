//! `convert`: a field's values differ on each side. A target value that stands for the source's already stays.

mod cast;
mod date;
mod table;
mod units;

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Number, Value, value::RawValue};

use super::{Crossing, Edit, Operation, given, same, set, side};
use crate::{
    couch::Fields,
    lens::{
        PutError,
        file::Scope,
        raw,
        shape::{Loss, Presence, Shape},
    },
    schema::{ClassName, Direction},
};

/// As it is written: one of `values`, `cast`, `factor` and `date`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvertFile {
    #[serde(rename = "in")]
    within: Option<ClassName>,
    field: String,
    /// Pairs of old and new value.
    values: Option<Vec<[Value; 2]>>,
    /// The type on each side.
    cast: Option<Sides<cast::Type>>,
    /// How many of the new unit are one of the old.
    factor: Option<Number>,
    /// What the new side shows where the old has zero.
    offset: Option<Number>,
    /// How many there are on each side.
    decimals: Option<units::Decimals>,
    /// The format on each side.
    date: Option<Sides<String>>,
    /// For all that is not convertible.
    #[serde(default)]
    otherwise: OtherwiseFile,
}

/// Something of both sides.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sides<T> {
    old: T,
    new: T,
}

/// What stands for values that are not convertible.
#[derive(Clone, Debug)]
enum OtherwiseFile {
    /// `unchanged`
    Unchanged,
    /// A value on each side.
    Values(OtherwiseValues),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OtherwiseValues {
    #[serde(default, deserialize_with = "given")]
    old: Option<Value>,
    #[serde(default, deserialize_with = "given")]
    new: Option<Value>,
}

#[derive(Debug)]
struct Convert {
    field: String,
    mapping: Box<dyn Mapping>,
    otherwise: Otherwise,
}

#[derive(Clone, Debug)]
enum Otherwise {
    Unchanged,
    /// On the old side, on the new side; also for a field that is not there.
    Values([Option<Box<RawValue>>; 2]),
}

/// From the values of one side to those of the other.
trait Mapping: fmt::Debug + Send + Sync {
    /// The value on the side that `to` leads to; none if there is none for it.
    fn map(&self, to: Direction, value: &RawValue) -> Option<Box<RawValue>>;
}

/// There is no value on the other side, and nothing stands in for it.
struct NoValue;

impl Default for OtherwiseFile {
    fn default() -> Self {
        Self::Values(OtherwiseValues::default())
    }
}

impl<'de> Deserialize<'de> for OtherwiseFile {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OtherwiseFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`unchanged`, or `{ old: …, new: … }`")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<OtherwiseFile, E> {
                match word {
                    "unchanged" => Ok(OtherwiseFile::Unchanged),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<OtherwiseFile, A::Error> {
                let values = OtherwiseValues::deserialize(MapAccessDeserializer::new(members));
                values.map(OtherwiseFile::Values)
            }
        }
        from.deserialize_any(Either)
    }
}

impl ConvertFile {
    pub(super) fn compile(&self, scope: &mut Scope) -> Option<Operation> {
        scope.field("field", &self.field);
        let otherwise = match &self.otherwise {
            OtherwiseFile::Unchanged => Otherwise::Unchanged,
            OtherwiseFile::Values(OtherwiseValues { old, new }) => {
                Otherwise::Values([old, new].map(|value| value.as_ref().map(raw)))
            }
        };
        let edit = Convert {
            field: self.field.clone(),
            mapping: self.mapping(scope)?,
            otherwise,
        };
        edit.check(scope);
        scope.edit(self.within.as_ref(), edit)
    }

    fn mapping(&self, scope: &mut Scope) -> Option<Box<dyn Mapping>> {
        if self.factor.is_none() && (self.offset.is_some() || self.decimals.is_some()) {
            scope.flaw("", "`offset` and `decimals` belong to a `factor`", "add a `factor`");
        }
        match (&self.values, &self.cast, &self.factor, &self.date) {
            (Some(rows), None, None, None) => {
                if rows.is_empty() {
                    scope.flaw("values", "the table is empty", "give pairs: `[[old, new], …]`");
                }
                Some(Box::new(table::Table::new(rows)))
            }
            (None, Some(types), None, None) => Some(Box::new(cast::Cast::new(types.old, types.new))),
            (None, None, Some(factor), None) => {
                let units = units::Units::new(factor, self.offset.as_ref(), self.decimals.as_ref(), scope)?;
                Some(Box::new(units))
            }
            (None, None, None, Some(formats)) => {
                let dates = date::Dates::new(&formats.old, &formats.new, scope)?;
                Some(Box::new(dates))
            }
            _ => {
                scope.flaw(
                    "",
                    "there is not one way to convert",
                    "write one of `values`, `cast`, `factor` and `date`",
                );
                None
            }
        }
    }
}

impl Convert {
    /// What `otherwise` writes has to be readable by the way back.
    fn check(&self, scope: &mut Scope) {
        for (to, what, back) in [(Direction::Up, "new", "old"), (Direction::Down, "old", "new")] {
            let Otherwise::Values(values) = &self.otherwise else {
                continue;
            };
            if let Some(value) = &values[side(to)]
                && self.look_up(to.reverse(), Some(value)).is_err()
            {
                scope.flaw(
                    &format!("otherwise/{what}"),
                    format!("{} has no value on the {back} side", value.get()),
                    format!("add what stands there for it, as `otherwise: {{ {back}: … }}` or as a pair"),
                );
            }
        }
    }

    /// The value on the side that `to` leads to. `Ok(None)`: an absent field stays absent.
    fn look_up(&self, to: Direction, value: Option<&RawValue>) -> Result<Option<Box<RawValue>>, NoValue> {
        let mapped = value.and_then(|value| self.mapping.map(to, value));
        match (mapped, &self.otherwise) {
            (Some(mapped), _) => Ok(Some(mapped)),
            (None, Otherwise::Unchanged) => Ok(value.map(ToOwned::to_owned)),
            (None, Otherwise::Values(values)) => match &values[side(to)] {
                Some(otherwise) => Ok(Some(otherwise.clone())),
                None if value.is_none() => Ok(None),
                None => Err(NoValue),
            },
        }
    }

    /// Whether what the target has stands for the source's value: it does if that can be got from it, or if each leads to what
    /// the other leads to. The same holds then the other way round.
    fn stands(
        &self,
        to: Direction,
        target: Option<&RawValue>,
        source: Option<&RawValue>,
        put: Option<&RawValue>,
    ) -> bool {
        let leads = |to: Direction, from: Option<&RawValue>, there: Option<&RawValue>| {
            let led = self.look_up(to, from);
            led.is_ok_and(|led| same(led.as_deref(), there))
        };
        let Ok(back) = self.look_up(to.reverse(), target) else {
            return false;
        };
        let back = back.as_deref();
        same(back, source) || put.is_some() && leads(to, back, put) && leads(to.reverse(), put, back)
    }
}

impl Edit for Convert {
    fn put(&self, at: Crossing, here: &mut Fields, known: Option<&Fields>) -> Result<(), PutError> {
        let source = here.get(&self.field);
        let put = self.look_up(at.to, source);
        let target = known.map(|known| known.get(&self.field));
        let kept = target.filter(|target| {
            let put = put.as_ref().ok().and_then(Option::as_deref);
            self.stands(at.to, *target, source, put)
        });
        let made = match (kept, put) {
            (Some(target), _) => target.map(ToOwned::to_owned),
            (None, Ok(put)) => put,
            (None, Err(NoValue)) => {
                return Err(PutError::NoValue {
                    field: self.field.clone(),
                    value: source.map_or_else(String::new, |value| value.get().to_owned()),
                    to: ["old", "new"][side(at.to)],
                });
            }
        };
        set(here, &self.field, made);
        Ok(())
    }

    fn outline(&self, to: Direction, here: &mut Shape, _: &mut Vec<Loss>) {
        let was = here.fields.remove(&self.field);
        let is_filled = matches!(&self.otherwise, Otherwise::Values(values) if values[side(to)].is_some());
        if is_filled || was.is_some() {
            let was = was.unwrap_or_default();
            let presence = Presence {
                required: is_filled || was.required,
                inner: was.inner.filter(|_| matches!(self.otherwise, Otherwise::Unchanged)),
                items: None,
            };
            here.fields.insert(self.field.clone(), presence);
        }
    }

    fn touches(&self) -> Vec<&str> {
        vec![&self.field]
    }
}
