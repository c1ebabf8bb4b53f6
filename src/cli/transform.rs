//! `chesterfield transform`

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read},
    path::Path,
};

use chesterfield::{
    config::{Config, Overrides, Schemas},
    couch::{Document, Fields, document::Written},
    lens::example,
    rehearsal::{Rehearsal, Sent, SentShared},
    schema::{ClassId, ClassName},
};
use serde_json::value::RawValue;

use super::{Failure, say};

/// Documents of one entity.
struct Group {
    /// None says no document.
    key: Option<String>,
    documents: Vec<Sent>,
}

impl Group {
    /// Its documents as others embed them.
    fn shared(self) -> impl Iterator<Item = SentShared> {
        let key = self.key.unwrap_or_else(|| example::KEY.to_owned());
        let documents = self.documents.into_iter();
        documents.map(move |(class, fields)| (class, key.clone(), fields))
    }
}

/// Reads documents, carries them, and prints them in the other version.
pub fn run(
    overrides: &Overrides,
    from: &ClassName,
    to: Option<&ClassName>,
    existing: Option<&Path>,
) -> Result<(), Failure> {
    let schemas = Config::load_as_is(overrides)?.schemas;
    let from = class(&schemas, from)?;
    let to = to.map(|to| class(&schemas, to)).transpose()?;
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::Data(format!("standard input: {error}")))?;
    let groups = groups(&schemas, from, "standard input", &text)?;
    if groups.is_empty() {
        let what = "standard input holds no document: `chesterfield transform FROM TO < doc.json`";
        return Err(Failure::Data(what.to_owned()));
    }
    let before = match existing {
        None => Vec::new(),
        Some(path) => {
            let name = path.display().to_string();
            let text = fs::read_to_string(path).map_err(|error| Failure::Data(format!("{name}: {error}")))?;
            self::groups(&schemas, to.unwrap_or(from), &name, &text)?
        }
    };
    let entity = schemas.registry.entity(from);
    let is_own = |group: &Group| {
        let mut classes = group.documents.iter().map(|(class, _)| class);
        classes.any(|class| entity.contains(class) || !schemas.registry.is_shared(*class))
    };
    let (groups, shared): (Vec<Group>, Vec<Group>) = groups.into_iter().partition(is_own);
    let (before, others): (Vec<Group>, Vec<Group>) = before.into_iter().partition(is_own);
    let shared: Vec<SentShared> = others.into_iter().chain(shared).flat_map(Group::shared).collect();
    let keys: BTreeSet<&str> = before.iter().filter_map(|before| before.key.as_deref()).collect();
    for group in groups {
        let key = match &group.key {
            Some(key) => key,
            None if keys.len() > 1 => {
                let what = "documents of several entities are there before: say by its `_id` which one is written";
                return Err(Failure::Data(what.to_owned()));
            }
            None => keys.first().copied().unwrap_or(example::KEY),
        };
        let unfit = |error| Failure::Data(format!("{error}"));
        let mut rehearsal = Rehearsal::new(&schemas.registry, &schemas.lenses, from, key).map_err(unfit)?;
        let all = || group.documents.iter().map(|(class, _)| *class).chain(to);
        if let Some(stray) = all().find(|class| !rehearsal.has(*class)) {
            let name = |class| &schemas.registry.class(class).name;
            let what = format!("no lens leads from {} to {}", name(from), name(stray));
            return Err(Failure::Data(what));
        }
        rehearsal
            .write_all(&[], &shared)
            .map_err(|stuck| Failure::Data(format!("what is shared: {stuck}")))?;
        for before in before
            .iter()
            .filter(|before| before.key.as_deref().is_none_or(|before| before == key))
        {
            rehearsal
                .write(&before.documents)
                .map_err(|stuck| Failure::Data(format!("what is there before: {stuck}")))?;
        }
        let stuck = rehearsal.write(&group.documents).err();
        let is_given = |class| group.documents.iter().any(|(given, _)| *given == class);
        let is_wanted = |class| to.map_or(!is_given(class), |to| to == class);
        let wanted = rehearsal.ids().filter(|(class, _)| is_wanted(*class));
        let shown: Vec<_> = wanted.map(|(class, id)| (class, id, rehearsal.shown(class))).collect();
        // What another class waits for does not matter to one that is there.
        let is_there = to.is_some() && shown.iter().all(|(_, _, fields)| fields.is_some());
        if let Some(stuck) = stuck.filter(|stuck| !(stuck.is_waiting && is_there)) {
            return Err(Failure::Data(format!("{key}: {stuck}")));
        }
        for (class, id, fields) in shown {
            match fields {
                Some(fields) => say(io::stdout(), &line(&schemas, class, id, fields)?),
                // Deleted, or dropped by a lens.
                None => say(io::stdout(), &"null"),
            }
        }
    }
    Ok(())
}

fn class(schemas: &Schemas, name: &ClassName) -> Result<ClassId, Failure> {
    let mut classes = schemas.registry.classes();
    let class = classes.find(|(_, class)| class.name == *name).map(|(id, _)| id);
    class.ok_or_else(|| {
        let known: Vec<String> = schemas
            .registry
            .classes()
            .map(|(_, class)| class.name.to_string())
            .collect();
        Failure::Usage(format!("there is no class {name}; known are: {}", known.join(", ")))
    })
}

/// Documents as they stand in a text, by key; one without `_id` begins a group of its own when the last has its class already.
fn groups(schemas: &Schemas, default: ClassId, name: &str, text: &str) -> Result<Vec<Group>, Failure> {
    let mut groups: Vec<Group> = Vec::new();
    for document in documents(text).map_err(|error| Failure::Data(format!("{name}: {error}")))? {
        let known = document.id.as_deref().map(|id| (id, schemas.registry.classify(id)));
        let (class, key) = match known {
            Some((id, None)) => return Err(Failure::Data(format!("{name}: `{id}` is the id of no class"))),
            Some((_, Some((class, key)))) => (class, Some(key)),
            None => (said(schemas, &document.fields).unwrap_or(default), None),
        };
        let sent = (class, (!document.deleted).then_some(document.fields.clone()));
        let has_room = |group: &&mut Group| group.documents.iter().all(|(held, _)| *held != class);
        let of_its_key = |group: &&mut Group| group.key.as_deref() == key;
        match groups.iter_mut().rev().filter(of_its_key).find(has_room) {
            Some(group) => group.documents.push(sent),
            None => groups.push(Group {
                key: key.map(str::to_owned),
                documents: vec![sent],
            }),
        }
    }
    Ok(groups)
}

/// One document, several one after another, or a list.
fn documents(text: &str) -> Result<Vec<Document>, serde_json::Error> {
    let mut documents = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Box<RawValue>>() {
        let value = value?;
        match serde_json::from_str::<Vec<Document>>(value.get()) {
            Ok(several) => documents.extend(several),
            Err(error) if value.get().starts_with('[') => return Err(error),
            Err(_) => documents.push(serde_json::from_str(value.get())?),
        }
    }
    Ok(documents)
}

/// The class that a document's own members name.
fn said(schemas: &Schemas, fields: &Fields) -> Option<ClassId> {
    let schema: String = serde_json::from_str(fields.get("schema")?.get()).ok()?;
    let major: u64 = serde_json::from_str(fields.get("version")?.get()).ok()?;
    let mut classes = schemas.registry.classes();
    let is_said = |name: &ClassName| *name.schema == schema && name.major == major;
    classes.find(|(_, class)| is_said(&class.name)).map(|(id, _)| id)
}

/// As it would be written, without a revision.
fn line(schemas: &Schemas, class: ClassId, id: &str, fields: &Fields) -> Result<String, Failure> {
    let mut document = Document {
        fields: fields.clone(),
        ..Document::default()
    };
    for (name, value) in schemas.registry.class(class).name.fields() {
        document.fields.set(name, value);
    }
    let written = Written {
        id: Some(id),
        rev: None,
        revisions: &[],
        deleted: false,
        body: Some(&document),
    };
    serde_json::to_string(&written).map_err(|error| Failure::Internal(error.to_string()))
}
