//! What the engine is helped to remember from one call to the next: names, and the layouts of objects.
//!
//! It keeps a name only as long as there is an object that has it, and what objects with the same members in the same order share only
//! as long as there is one of them; most documents of a class are such. Nothing of it can be seen by a script.

use std::{
    hash::{Hash, Hasher},
    rc::Rc,
};

use rquickjs::{Atom, Ctx, IntoAtom, Object, Persistent, Value, object::Property};
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use smol_str::SmolStr;

/// Layouts that are kept; of more, all are forgotten.
const LAYOUTS: usize = 64;

/// Members of an object whose layout is kept.
const MEMBERS: usize = 256;

/// Members of an object whose layout the engine is helped to keep: there is an object for each of them.
const FIXED: usize = 32;

/// Layouts that are remembered to have been met; of more, all are forgotten.
const MET: usize = 1024;

/// Bytes of a name whose layouts are kept.
const NAME: usize = 64;

/// A name, as the engine knows it.
pub type Name = Persistent<Atom<'static>>;

/// The layouts of one realm.
#[derive(Default)]
pub struct Layouts {
    known: FxHashMap<u64, Rc<Layout>>,
    /// What was met once: only what comes again is worth its objects.
    met: FxHashSet<u64>,
}

/// Whose layout it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Of {
    /// Of what scripts are shown, whose members they cannot change.
    Shown,
    /// Of what they make.
    Made,
}

/// The members of an object, in their order.
pub struct Layout {
    of: Of,
    pub texts: Vec<SmolStr>,
    pub names: Vec<Name>,
    /// One for each member, which has all up to that: the engine finds a layout by the one that has a member less.
    objects: Vec<Persistent<Object<'static>>>,
}

impl Layouts {
    /// The layout of an object with these members.
    pub fn named<'js, 'n>(
        &mut self,
        ctx: &Ctx<'js>,
        of: Of,
        texts: impl Iterator<Item = &'n str> + Clone,
    ) -> rquickjs::Result<Rc<Layout>> {
        let hash = hash(of, texts.clone());
        if let Some(layout) = self.known.get(&hash)
            && layout.of == of
            && layout.texts.iter().map(SmolStr::as_str).eq(texts.clone())
        {
            return Ok(layout.clone());
        }
        let name = |text: &str| Ok(Persistent::save(ctx, text.into_atom(ctx)?));
        let names = texts.clone().map(name).collect::<rquickjs::Result<_>>()?;
        self.keep(ctx, hash, Layout::new(of, texts.map(SmolStr::new).collect(), names))
    }

    /// The layout of an object that a script has made: it will make more like it. `text` reads a name.
    pub fn made<'js, E: From<rquickjs::Error>>(
        &mut self,
        ctx: &Ctx<'js>,
        names: &[Name],
        text: impl Fn(Atom<'js>) -> Result<String, E>,
    ) -> Result<Rc<Layout>, E> {
        let hash = hash(Of::Made, names);
        if let Some(layout) = self.known.get(&hash)
            && layout.of == Of::Made
            && layout.names == names
        {
            return Ok(layout.clone());
        }
        let text = |name: &Name| Ok(SmolStr::from(text(name.clone().restore(ctx)?)?));
        let texts = names.iter().map(text).collect::<Result<_, E>>()?;
        Ok(self.keep(ctx, hash, Layout::new(Of::Made, texts, names.to_vec()))?)
    }

    fn keep(&mut self, ctx: &Ctx, hash: u64, mut layout: Layout) -> rquickjs::Result<Rc<Layout>> {
        if self.met.len() >= MET {
            self.met.clear();
        }
        let is_short = |text: &SmolStr| text.len() <= NAME;
        let is_kept = !self.met.insert(hash) && layout.texts.len() <= MEMBERS && layout.texts.iter().all(is_short);
        if !is_kept {
            return Ok(Rc::new(layout));
        }
        if self.known.len() >= LAYOUTS {
            self.known.clear();
        }
        if layout.names.len() <= FIXED {
            layout.fix(ctx, &layout.names.clone())?;
            if layout.of == Of::Made {
                layout.fix(ctx, &self.rest(&layout))?;
            }
        }
        let layout = Rc::new(layout);
        self.known.insert(hash, layout.clone());
        Ok(layout)
    }

    /// What is most like what a script takes out of an object that it is shown, to make this: `{ title, ...rest }`.
    fn rest(&self, made: &Layout) -> Vec<Name> {
        let shown = self.known.values().filter(|layout| layout.of == Of::Shown);
        let common = |shown: &Rc<Layout>| -> Vec<Name> {
            let names = shown.names.iter().filter(|name| made.names.contains(name));
            names.cloned().collect()
        };
        let others = shown.map(common).filter(|names| *names != made.names);
        others.max_by_key(Vec::len).unwrap_or_default()
    }
}

fn hash(of: Of, members: impl IntoIterator<Item: Hash>) -> u64 {
    let mut hasher = FxHasher::default();
    of.hash(&mut hasher);
    members.into_iter().for_each(|member| member.hash(&mut hasher));
    hasher.finish()
}

impl Layout {
    fn new(of: Of, texts: Vec<SmolStr>, names: Vec<Name>) -> Self {
        Self {
            of,
            texts,
            names,
            objects: Vec::new(),
        }
    }

    /// Has the engine keep these members.
    fn fix(&mut self, ctx: &Ctx, names: &[Name]) -> rquickjs::Result<()> {
        for n in 1..=names.len() {
            let object = Object::new(ctx.clone())?;
            for name in &names[..n] {
                let property = Property::from(Value::new_null(ctx.clone())).enumerable();
                let property = match self.of {
                    Of::Shown => property,
                    Of::Made => property.writable().configurable(),
                };
                object.prop(name.clone().restore(ctx)?, property)?;
            }
            self.objects.push(Persistent::save(ctx, object));
        }
        Ok(())
    }
}
