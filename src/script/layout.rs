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

/// Layouts that are kept; of more, all are forgotten.
const LAYOUTS: usize = 64;

/// Members of an object whose layout is kept: there is an object for each of them.
const MEMBERS: usize = 32;

/// Names that are kept; of more, all are forgotten.
const NAMES: usize = 1024;

/// Bytes of a name that is kept.
const NAME: usize = 64;

/// The names and layouts of one realm.
#[derive(Default)]
pub struct Layouts {
    known: FxHashMap<u64, Rc<Layout>>,
    /// What was met once: only what comes again is worth its objects.
    met: FxHashSet<u64>,
    names: FxHashMap<Persistent<Atom<'static>>, Rc<str>>,
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
    names: Vec<Box<str>>,
    atoms: Vec<Persistent<Atom<'static>>>,
    /// One for each member, which has all up to that: the engine finds a layout by the one that has a member less.
    _objects: Vec<Persistent<Object<'static>>>,
}

impl Layouts {
    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The layout of objects with these members, if such were met before.
    pub fn layout<'js, 'n>(
        &mut self,
        ctx: &Ctx<'js>,
        of: Of,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> rquickjs::Result<Option<Rc<Layout>>> {
        let mut hasher = FxHasher::default();
        of.hash(&mut hasher);
        names.clone().for_each(|name| name.hash(&mut hasher));
        let hash = hasher.finish();
        if let Some(layout) = self.known.get(&hash) {
            let is_same = layout.of == of && layout.names.iter().map(|name| &**name).eq(names);
            return Ok(is_same.then(|| layout.clone()));
        }
        if self.met.len() >= NAMES {
            self.met.clear();
        }
        if self.met.insert(hash) || names.clone().count() > MEMBERS || names.clone().any(|name| name.len() > NAME) {
            return Ok(None);
        }
        if self.known.len() >= LAYOUTS {
            self.known.clear();
        }
        let layout = Rc::new(Layout::new(ctx, of, names.map(Box::from).collect())?);
        self.known.insert(hash, layout.clone());
        Ok(Some(layout))
    }

    /// A name as text; `read` tells one that is not known.
    pub fn name<'js, E>(
        &mut self,
        ctx: &Ctx<'js>,
        atom: &Atom<'js>,
        read: impl FnOnce(&Atom<'js>) -> Result<String, E>,
    ) -> Result<Rc<str>, E> {
        let known = Persistent::save(ctx, atom.clone());
        if let Some(name) = self.names.get(&known) {
            return Ok(name.clone());
        }
        let name: Rc<str> = read(atom)?.into();
        if self.names.len() >= NAMES {
            self.names.clear();
        }
        if name.len() <= NAME {
            self.names.insert(known, name.clone());
        }
        Ok(name)
    }
}

impl Layout {
    fn new<'js>(ctx: &Ctx<'js>, of: Of, names: Vec<Box<str>>) -> rquickjs::Result<Self> {
        let atoms: Vec<Atom> = names
            .iter()
            .map(|name| name.into_atom(ctx))
            .collect::<rquickjs::Result<_>>()?;
        let mut objects = Vec::with_capacity(atoms.len());
        for n in 1..=atoms.len() {
            let object = Object::new(ctx.clone())?;
            for atom in &atoms[..n] {
                let property = Property::from(Value::new_null(ctx.clone())).enumerable();
                object.prop(
                    atom.clone(),
                    match of {
                        Of::Shown => property,
                        Of::Made => property.writable().configurable(),
                    },
                )?;
            }
            objects.push(Persistent::save(ctx, object));
        }
        Ok(Self {
            of,
            names,
            atoms: atoms.into_iter().map(|atom| Persistent::save(ctx, atom)).collect(),
            _objects: objects,
        })
    }

    /// The name of a member, as the engine knows it.
    pub fn atom<'js>(&self, ctx: &Ctx<'js>, n: usize) -> rquickjs::Result<Atom<'js>> {
        self.atoms[n].clone().restore(ctx)
    }
}
