//! Shared documents: an object that the old side embeds is, on the new side, a reference to a document with a key of its own.

use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};

use super::{PutError, shape::Presence};
use crate::{couch::Fields, schema::ClassId};

/// A field that embeds on the old side, and refers on the new.
#[derive(Clone, Debug)]
pub struct Share {
    /// What it is called once the steps are done, where it embeds.
    pub(super) field: String,
    /// What it is called on the new side.
    pub(super) reference: String,
    /// The class of the shared documents.
    pub(super) class: ClassId,
    /// The fields that tell one shared document from another: its key is made of them.
    pub(super) key: Vec<String>,
    /// What is embedded is no object but the value of this field.
    pub(super) value: Option<String>,
    /// What is embedded while the shared document is deleted or does not exist; without it a document that does not exist is
    /// waited for.
    pub(super) default: Option<Box<RawValue>>,
}

/// What is known of a shared document.
#[derive(Clone, Copy, Debug, Default)]
pub enum Shared<'a> {
    /// It does not exist.
    #[default]
    Missing,
    /// It did.
    Deleted,
    /// Its fields.
    Live(&'a Fields),
}

/// What lenses that share documents are told beside what they put.
#[derive(Clone, Copy)]
pub struct Others<'a, 'b> {
    /// The source primary, as it was before the edits that are carried.
    pub before: Option<&'b Fields>,
    /// A shared document, by class and key.
    pub shared: &'a dyn Fn(ClassId, &str) -> Shared<'a>,
}

/// A shared document, named by what a document embeds.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// The field that refers to it.
    pub reference: String,
    /// Its class.
    pub class: ClassId,
    /// Its key.
    pub key: String,
    /// Its fields, in order.
    pub fields: Fields,
}

/// The longest key that is readable.
const READABLE: usize = 40;

/// Digits of a hash at the end of a key: 48 bits keep a million keys apart.
const DIGITS: usize = 12;

impl Share {
    /// The class of the shared documents.
    pub fn class(&self) -> ClassId {
        self.class
    }

    /// The field of the new side that refers to them.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The key that a document of the new side refers to.
    pub fn referred(&self, fields: &Fields) -> Option<String> {
        serde_json::from_str(fields.get(&self.reference)?.get()).ok()
    }

    /// What a document embeds at the place of the steps where they are done; none if nothing.
    pub fn embedded(&self, fields: &Fields) -> Result<Option<Embedded>, PutError> {
        let Some(text) = fields.get(&self.field).filter(|value| value.get() != "null") else {
            return Ok(None);
        };
        let unnamed = || PutError::NoValue {
            field: self.field.clone(),
            value: text.get().to_owned(),
            to: "new",
        };
        let content: Fields = match &self.value {
            Some(name) => [(name.as_str(), text.to_owned())].into_iter().collect(),
            None => serde_json::from_str(text.get()).map_err(|_| unnamed())?,
        };
        let named = self.key.iter().map(|name| content.get(name));
        let named: Option<Vec<Value>> = named.map(|value| serde_json::from_str(value?.get()).ok()).collect();
        let named = named.filter(|named| named.iter().all(|value| value.is_string() || value.is_number()));
        let key = key_of(&named.ok_or_else(unnamed)?);
        // One text for whoever makes it.
        let mut fields: Vec<(&str, Box<RawValue>)> = content.iter().map(|(name, v)| (name, v.to_owned())).collect();
        fields.sort_by_key(|(name, _)| *name);
        Ok(Some(Embedded {
            reference: self.reference.clone(),
            class: self.class,
            key,
            fields: fields.into_iter().collect(),
        }))
    }

    /// A document of the old side, of which `fields` are those of the new: what stands in for the reference. `Err`: not yet.
    pub(super) fn embed(&self, fields: &mut Fields, others: &Others) -> Result<(), NotReady> {
        let key = self.referred(fields);
        fields.take(&self.reference);
        let Some(key) = key else { return Ok(()) };
        let embedded = match ((others.shared)(self.class, &key), &self.default) {
            (Shared::Live(shared), _) => self.text_of(shared),
            (_, Some(default)) => Some(default.clone()),
            (Shared::Deleted, None) => None,
            (Shared::Missing, None) => return Err(NotReady),
        };
        if let Some(text) = embedded {
            fields.set(&self.field, text);
        }
        Ok(())
    }

    /// What is known beforehand of what is embedded. Of a document that has been deleted nothing is, without a default.
    pub(super) fn shown(&self, is_referred: bool) -> Presence {
        Presence {
            required: is_referred,
            ..Presence::default()
        }
    }

    fn text_of(&self, shared: &Fields) -> Option<Box<RawValue>> {
        if let Some(name) = &self.value {
            return shared.get(name).map(ToOwned::to_owned);
        }
        let mut own = shared.clone();
        for of_engine in ["schema", "version"] {
            own.take(of_engine);
        }
        serde_json::value::to_raw_value(&own).ok()
    }

    /// A document of the new side, of which `fields` still embed: what refers to what they embed.
    ///
    /// The reference stays unless the edit changed which document is meant: the copy that its author saw may be an old one, and
    /// the document be called otherwise by now. `before` is what the author saw, as far as it is known.
    pub(super) fn refer(
        &self,
        fields: &mut Fields,
        old: Option<&Fields>,
        before: Option<&Fields>,
        others: &Others,
    ) -> Result<(), PutError> {
        let key = self.embedded(fields)?.map(|embedded| embedded.key);
        fields.take(&self.field);
        let kept = old.and_then(|old| old.get(&self.reference));
        let was = before.map(|before| self.embedded(before).ok().flatten().map(|embedded| embedded.key));
        let is_kept = old.is_some()
            && match &was {
                Some(was) if *was == key => true,
                _ => key.is_some() && key == old.and_then(|old| self.called_now(old, others)),
            };
        match (is_kept, key) {
            (true, _) => {
                if let Some(kept) = kept {
                    fields.set(&self.reference, kept.to_owned());
                }
            }
            (false, Some(key)) => fields.set(&self.reference, super::raw(&Value::String(key))),
            (false, None) => drop(fields.take(&self.reference)),
        }
        Ok(())
    }

    /// The key that would be made of what old clients are shown of the document that is referred to.
    fn called_now(&self, old: &Fields, others: &Others) -> Option<String> {
        let shown = match (others.shared)(self.class, &self.referred(old)?) {
            Shared::Live(shared) => self.text_of(shared),
            Shared::Missing | Shared::Deleted => self.default.clone(),
        };
        let embedding = [(self.field.as_str(), shown?)].into_iter().collect();
        Some(self.embedded(&embedding).ok()??.key)
    }
}

/// A shared document is waited for.
pub(super) struct NotReady;

impl Others<'_, '_> {
    /// Where there is none.
    pub const NONE: Others<'static, 'static> = Others {
        before: None,
        shared: &|_, _| Shared::Missing,
    };
}

/// A key made of values: one text that is short and plain is its own key. Of all others the plain part is told and a hash added, so that no two
/// have the same; a plain text that ends like a hash is given one too.
fn key_of(values: &[Value]) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let text = values.iter().map(text).collect::<Vec<_>>().join("-");
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends_as_hash = text
        .rsplit_once('-')
        .is_some_and(|(_, end)| end.len() == DIGITS && end.bytes().all(|b| b.is_ascii_hexdigit()));
    let is_own = matches!(values, [Value::String(text)] if !text.is_empty() && text.len() <= READABLE && text.chars().all(is_plain));
    if is_own && !ends_as_hash {
        return text;
    }
    let mut readable = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if is_plain(c) && c != '-' {
            readable.push(c);
        } else if !readable.is_empty() && !readable.ends_with('-') {
            readable.push('-');
        }
        if readable.len() >= READABLE {
            break;
        }
    }
    if !readable.is_empty() && !readable.ends_with('-') {
        readable.push('-');
    }
    let hash = Sha256::digest(Value::from(values).to_string());
    hash.iter().take(DIGITS / 2).fold(readable, |mut key, byte| {
        key.push_str(&format!("{byte:02x}"));
        key
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_readable_and_apart() {
        let of = |values: &[Value]| key_of(values);
        assert_eq!(of(&[json!("groceries")]), "groceries");
        assert!(of(&[json!("Garden & House")]).starts_with("garden-house-"));
        assert_eq!(of(&[json!("")]).len(), DIGITS);
        let all = [
            vec![json!("work")],
            vec![json!("Work")],
            vec![json!("WORK")],
            vec![json!("work ")],
            vec![json!("1")],
            vec![json!(1)],
            vec![json!("a"), json!("b")],
            vec![json!("a-b")],
            vec![json!("ä")],
            vec![json!("ö")],
            vec![json!(of(&[json!("Work")]))],
        ];
        let keys: std::collections::BTreeSet<String> = all.iter().map(|values| of(values)).collect();
        assert_eq!(keys.len(), all.len(), "{keys:?}");
        assert!(of(&[json!("x".repeat(1000))]).len() <= READABLE + 1 + DIGITS);
    }
}
