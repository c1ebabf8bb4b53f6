//! Between fields and JavaScript's values, in both directions, without losing how a value was written.
//!
//! * An object or array is read when a script looks into it ([`Reader`]); until then, and after, it is read-only. One that is passed on
//!   is written as it stood, wherever it goes ([`Held`]).
//! * An integer beyond 2^53 is a BigInt, so that nothing of it is lost.
//! * A number or string that JavaScript would write in another way (`1.0`, `1e2`) is written as it stood if it goes where it was: under
//!   the same name. A number may go anywhere if its value was written in one way only.

use std::{cell::RefCell, iter, rc::Rc};

use rquickjs::{Atom, Ctx, Function, Object, Value};
use serde_json::value::RawValue;

use super::{
    engine::Watch,
    held::Held,
    layout::{Layout, Name, Of},
    reader::{Reader, show},
};
use crate::couch::Fields;

/// The documents that a script was given, with the values it saw.
#[derive(Default)]
pub struct Given<'js, 'd>(Vec<Shown<'js, 'd>>);

struct Shown<'js, 'd> {
    layout: Rc<Layout>,
    values: Vec<(Value<'js>, &'d RawValue)>,
}

impl<'js, 'd> Given<'js, 'd> {
    /// The text of a field that is as it was given. A string may be another field's: it is written alike wherever it goes, if that needs
    /// no escapes.
    pub fn text(&self, name: &Name, value: &Value<'js>) -> Option<&'d RawValue> {
        let is_plain = |text: &RawValue| value.is_string() && !text.get().contains('\\');
        for Shown { layout, values } in &self.0 {
            for (given, (shown, text)) in layout.names.iter().zip(values) {
                if shown == value && (given == name || is_plain(text)) {
                    return Some(text);
                }
            }
        }
        None
    }
}

/// One call's documents.
pub struct Bridge<'js, 'a> {
    pub ctx: &'a Ctx<'js>,
    pub held: &'a RefCell<Held>,
    pub watch: &'a Watch,
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
        let reader = Reader::new(self.ctx, self.held, self.watch);
        let document = Object::new(self.ctx.clone())?;
        let texts = fields.iter().map(|(name, _)| name);
        let layout = self.held.borrow_mut().layouts.named(self.ctx, Of::Shown, texts)?;
        let mut values = Vec::with_capacity(layout.names.len());
        for ((text, value), name) in fields.iter().zip(&layout.names) {
            let shown = reader.value(text, value.get())?;
            show(&document, name, shown.clone())?;
            values.push((shown, value));
        }
        given.0.push(Shown { layout, values });
        documents.set(self.class(class)?, reader.close(document)?)
    }

    /// The name of a class. The objects that have it alone have a layout, too.
    pub fn class(&self, class: &str) -> rquickjs::Result<Atom<'js>> {
        let mut held = self.held.borrow_mut();
        let layout = held.layouts.named(self.ctx, Of::Made, iter::once(class))?;
        layout.names[0].clone().restore(self.ctx)
    }

    /// The function that reads an object or array when a script looks into it.
    pub fn filler(ctx: &Ctx<'js>, held: Rc<RefCell<Held>>, watch: Rc<Watch>) -> rquickjs::Result<Function<'js>> {
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, n: usize, into: Object<'js>| {
            Reader::new(&ctx, &held, &watch).fill(n, &into)
        })
    }
}
