//! Between fields and JavaScript's values, in both directions, without losing how a value was written.
//!
//! * An object or array is read when a script looks into it ([`Reader`]); until then, and after, it is read-only. One that is passed on
//!   is written as it stood, wherever it goes ([`Held`]).
//! * An integer beyond 2^53 is a BigInt, so that nothing of it is lost.
//! * A number or string that JavaScript would write in another way (`1.0`, `1e2`) is written as it stood if it goes where it was: under
//!   the same name. A number may go anywhere if its value was written in one way only.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use rquickjs::{Atom, Ctx, Function, IntoAtom, Object, Persistent, Value};
use serde_json::value::RawValue;

use super::{
    engine::Watch,
    held::Held,
    layout::Of,
    reader::{Reader, shown},
};
use crate::couch::Fields;

/// Functions of `realm.js` that make what scripts are shown.
pub struct Tools<F> {
    /// An object or array that is read when it is looked into.
    pub make: F,
    /// An array that cannot be changed, in front of one that can.
    pub cover: F,
    /// Closes an object to further members.
    pub close: F,
    /// `BigInt`
    pub bigint: F,
}

/// The fields that a script was given, with the values it saw.
#[derive(Default)]
pub struct Given<'js, 'd>(Vec<Field<'js, 'd>>);

struct Field<'js, 'd> {
    /// The name, as the engine knows it.
    atom: Atom<'js>,
    value: Value<'js>,
    text: &'d RawValue,
}

impl<'js, 'd> Given<'js, 'd> {
    /// The text of a field that is as it was given. A string may be another field's: it is written alike wherever it goes, if that needs
    /// no escapes.
    pub fn text(&self, atom: &Atom<'js>, value: &Value<'js>) -> Option<&'d RawValue> {
        let is_plain = |text: &RawValue| value.is_string() && !text.get().contains('\\');
        let mut same = self.0.iter().filter(|field| field.value == *value);
        same.find(|field| field.atom == *atom || is_plain(field.text))
            .map(|field| field.text)
    }
}

/// One call's documents.
pub struct Bridge<'js, 'a> {
    pub ctx: &'a Ctx<'js>,
    pub held: &'a RefCell<Held>,
    pub watch: &'a Watch,
    pub tools: &'a Tools<Persistent<Function<'static>>>,
}

impl<F> Tools<F> {
    fn map<T>(&self, map: impl Fn(&F) -> T) -> Tools<T> {
        Tools {
            make: map(&self.make),
            cover: map(&self.cover),
            close: map(&self.close),
            bigint: map(&self.bigint),
        }
    }
}

impl Tools<Persistent<Function<'static>>> {
    /// Keeps them beyond one entry into the realm.
    pub fn save<'js>(ctx: &Ctx<'js>, tools: &Object<'js>) -> rquickjs::Result<Self> {
        let tools = Tools {
            make: tools.get("make")?,
            cover: tools.get("cover")?,
            close: tools.get("close")?,
            bigint: tools.get("bigint")?,
        };
        Ok(tools.map(|function: &Function| Persistent::save(ctx, function.clone())))
    }

    fn restore<'js>(&self, ctx: &Ctx<'js>) -> rquickjs::Result<Tools<Function<'js>>> {
        Ok(Tools {
            make: self.make.clone().restore(ctx)?,
            cover: self.cover.clone().restore(ctx)?,
            close: self.close.clone().restore(ctx)?,
            bigint: self.bigint.clone().restore(ctx)?,
        })
    }
}

/// A number as JavaScript writes it.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if (1e-6..1e21).contains(&size) || !value.is_finite() {
        value.to_string()
    } else if size < 1.0 {
        format!("{value:e}")
    } else {
        format!("{value:e}").replace('e', "e+")
    }
}

impl<'js> Bridge<'js, '_> {
    /// Puts a document among those that a script is shown.
    pub fn give<'d>(
        &self,
        given: &mut Given<'js, 'd>,
        documents: &Object<'js>,
        class: &str,
        fields: &'d Fields,
    ) -> rquickjs::Result<()> {
        let tools = self.tools.restore(self.ctx)?;
        let reader = Reader {
            ctx: self.ctx,
            tools: &tools,
            held: self.held,
            watch: self.watch,
            steps: Cell::default(),
        };
        let document = Object::new(self.ctx.clone())?;
        let names = fields.iter().map(|(name, _)| name);
        let layout = self.held.borrow_mut().layouts.layout(self.ctx, Of::Shown, names)?;
        given.0.reserve(fields.iter().count());
        for (n, (name, text)) in fields.iter().enumerate() {
            let value = reader.value(name, text)?;
            let atom = match &layout {
                Some(layout) => layout.atom(self.ctx, n)?,
                None => name.into_atom(self.ctx)?,
            };
            shown(&document, atom.clone(), value.clone())?;
            given.0.push(Field { atom, value, text });
        }
        documents.set(class, tools.close.call::<_, Value>((document,))?)
    }

    /// The function that reads an object or array when a script looks into it.
    pub fn filler(ctx: &Ctx<'js>, held: Rc<RefCell<Held>>, watch: Rc<Watch>) -> rquickjs::Result<Function<'js>> {
        Function::new(
            ctx.clone(),
            move |ctx: Ctx<'js>,
                  n: usize,
                  into: Object<'js>,
                  make: Function<'js>,
                  cover: Function<'js>,
                  close: Function<'js>,
                  bigint: Function<'js>| {
                let tools = Tools {
                    make,
                    cover,
                    close,
                    bigint,
                };
                Reader {
                    ctx: &ctx,
                    tools: &tools,
                    held: &held,
                    watch: &watch,
                    steps: Cell::default(),
                }
                .fill(n, &into)
            },
        )
    }
}
