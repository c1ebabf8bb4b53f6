//! A parked entity as a document: what it says, how it is named, and when it is tried again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Unit};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What ids of parked entities begin with.
const PREFIX: &str = "parked:";

/// The longest name of an entity that stands in an id as it is, in bytes. A longer one is cut and ends in a hash, and is longer than
/// this all the same: so the two kinds never meet.
const READABLE: usize = 200;

/// The longest text of an error, in characters.
const REASON: usize = 1000;

/// How long whoever tries an entity has it alone.
const CLAIM: Duration = Duration::from_secs(60);

/// An entity that could not be carried whole, as a fan-out found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Its name, see [`name`].
    pub entity: String,
    /// The key that its documents share.
    pub key: String,
    /// The document that lacks an edit; of several the first.
    pub target: String,
    /// What stands in the way.
    pub error: Kind,
    /// In words. It may hold values of documents: it is for the parked document, which admins alone read, and not for logs.
    pub reason: String,
    /// Where, without values: a script's file, line and column, a field, a path and a rule. Empty if there is nothing to say.
    pub place: String,
    /// The fingerprint of the classes and lenses it was tried with, see [`Fingerprints`](crate::schema::Fingerprints).
    pub registry: String,
}

/// What stands in the way of an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A lens has no value for one of the document.
    Lens,
    /// A script failed.
    Script,
    /// What a lens makes does not fit its class.
    Schema,
    /// The upstream refuses the revision: a `validate_doc_update` says no.
    Refused,
    /// The upstream takes no document of this size.
    TooLarge,
}

/// A document of a parked entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// `parked:{db}:{entity}`, made by `id`.
    #[serde(rename = "_id")]
    pub id: String,
    /// None if it was never written.
    #[serde(rename = "_rev", default, skip_serializing_if = "Option::is_none")]
    pub rev: Option<String>,
    /// The database that holds the entity.
    pub db: String,
    /// The key that the entity's documents share.
    pub key: String,
    /// The document that lacks an edit.
    pub target: String,
    /// [`Kind::name`].
    pub error: String,
    /// In words.
    pub reason: String,
    /// Where: a script's file, line and column, a field, a path and a rule.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was parked.
    pub first: Timestamp,
    /// When it was tried last.
    pub last: Timestamp,
    /// When it is tried again.
    pub next: Timestamp,
    /// The fingerprint of the classes and lenses it was tried with.
    pub registry: String,
}

/// How long an entity rests between two attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// After the first attempt. Each one is twice as long as the one before.
    pub first: Duration,
    /// No one is longer.
    pub longest: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(60),
            longest: Duration::from_secs(6 * 3600),
        }
    }
}

impl Pauses {
    /// The pause after so many attempts.
    pub fn after(&self, attempts: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        self.first.saturating_mul(doubled).min(self.longest)
    }
}

impl Kind {
    /// As it stands in documents and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Lens => "lens",
            Kind::Script => "script",
            Kind::Schema => "schema",
            Kind::Refused => "refused",
            Kind::TooLarge => "too_large",
        }
    }
}

/// The name of an entity: the shortest id of its documents, of several the first in the order of bytes. It does not depend on the
/// order of the registry, so that proxies with other schemas name it alike, but for the rare class whose ids are shorter still.
pub fn name<'a>(ids: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    ids.into_iter().min_by_key(|id| (id.len(), *id))
}

/// The id under which an entity is parked: no two entities share one. A colon cannot stand in the name of a database.
pub fn id(db: &str, entity: &str) -> String {
    if entity.len() <= READABLE {
        return format!("{PREFIX}{db}:{entity}");
    }
    let hash = Sha256::digest(entity.as_bytes());
    let hash: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let end = (0..=READABLE).rev().find(|end| entity.is_char_boundary(*end));
    format!("{PREFIX}{db}:{}~{hash}", &entity[..end.unwrap_or_default()])
}

/// From the first id of parked entities up to, without it, one that stands behind all of them; of one database, or of all.
pub fn range(db: Option<&str>) -> (String, String) {
    let before = db.map_or_else(|| PREFIX.to_owned(), |db| format!("{PREFIX}{db}:"));
    let behind = format!("{};", before.trim_end_matches(':'));
    (before, behind)
}

impl Entry {
    /// What is parked for the first time.
    pub fn new(db: &str, stuck: &Stuck, now: Timestamp, pauses: &Pauses) -> Self {
        let blank = Self {
            id: id(db, &stuck.entity),
            rev: None,
            db: db.to_owned(),
            key: stuck.key.clone(),
            target: String::new(),
            error: String::new(),
            reason: String::new(),
            place: String::new(),
            attempts: 0,
            first: whole(now),
            last: whole(now),
            next: whole(now),
            registry: String::new(),
        };
        blank.again(stuck, now, pauses)
    }

    /// What has been tried once more, in vain.
    pub fn again(&self, stuck: &Stuck, now: Timestamp, pauses: &Pauses) -> Self {
        let attempts = self.attempts.saturating_add(1);
        Self {
            target: stuck.target.clone(),
            error: stuck.error.name().to_owned(),
            reason: stuck.reason.chars().take(REASON).collect(),
            place: stuck.place.chars().take(REASON).collect(),
            attempts,
            last: whole(now),
            next: later(now, pauses.after(attempts)),
            registry: stuck.registry.clone(),
            ..self.clone()
        }
    }

    /// What is about to be tried with other schemas, or the same: whoever writes this first does so, and nobody else for a while. Whoever dies over it
    /// delays it by no more.
    pub fn claimed(&self, now: Timestamp, registry: &str) -> Self {
        Self {
            next: later(now, CLAIM),
            registry: registry.to_owned(),
            ..self.clone()
        }
    }
}

/// For people, who do not count nanoseconds.
fn whole(at: Timestamp) -> Timestamp {
    at.round(Unit::Millisecond).unwrap_or(at)
}

fn later(now: Timestamp, pause: Duration) -> Timestamp {
    let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX);
    whole(now.saturating_add(pause).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn stuck() -> Stuck {
        Stuck {
            entity: "todo-item:milk:v:1".to_owned(),
            key: "milk".to_owned(),
            target: "todo-item:milk:v:3".to_owned(),
            error: Kind::Script,
            reason: "lenses/todo.js:3:9: no group".to_owned(),
            place: "lenses/todo.js:3:9".to_owned(),
            registry: "5eed".to_owned(),
        }
    }

    #[test]
    fn a_document_is_readable() {
        let pauses = Pauses::default();
        let now: Timestamp = "2026-03-01T12:00:00.123456Z".parse().unwrap();
        let parked = Entry::new("todos", &stuck(), now, &pauses);
        let expected = json!({
            "_id": "parked:todos:todo-item:milk:v:1",
            "db": "todos",
            "key": "milk",
            "target": "todo-item:milk:v:3",
            "error": "script",
            "reason": "lenses/todo.js:3:9: no group",
            "place": "lenses/todo.js:3:9",
            "attempts": 1,
            "first": "2026-03-01T12:00:00.123Z",
            "last": "2026-03-01T12:00:00.123Z",
            "next": "2026-03-01T12:01:00.123Z",
            "registry": "5eed",
        });
        assert_eq!(serde_json::to_value(&parked).unwrap(), expected);
        let now = "2026-03-01T12:30:00Z".parse().unwrap();
        let again = parked.again(&stuck(), now, &pauses);
        assert_eq!((again.attempts, again.first), (2, parked.first));
        assert_eq!(again.next.to_string(), "2026-03-01T12:32:00Z");
        let claimed = again.claimed(now, "other");
        assert_eq!(claimed.next.to_string(), "2026-03-01T12:31:00Z");
        assert_eq!((claimed.attempts, &*claimed.registry), (2, "other"));
    }

    #[test]
    fn what_people_add_does_no_harm() {
        let mut document =
            serde_json::to_value(Entry::new("todos", &stuck(), Timestamp::now(), &Pauses::default())).unwrap();
        document["note"] = Value::from("looked at it");
        assert!(serde_json::from_value::<Entry>(document).is_ok());
    }

    #[test]
    fn an_entity_is_named_by_its_shortest_id() {
        let ids = ["todo-item-status:k:v:1", "todo-item:k:v:3", "todo-item:k:v:1"];
        assert_eq!(name(ids), Some("todo-item:k:v:1"));
        assert_eq!(name([]), None);
    }

    proptest! {
        #[test]
        fn pauses_grow_up_to_the_longest(first in 1..100_000_u64, longest in 1..10_000_000_u64, attempts in any::<u32>()) {
            let pauses = Pauses { first: Duration::from_millis(first), longest: Duration::from_millis(longest) };
            let (now, then) = (pauses.after(attempts), pauses.after(attempts.saturating_add(1)));
            prop_assert!(now <= then && then <= pauses.longest);
            prop_assert!(now == then || then == pauses.longest || then == now * 2 || attempts == 0);
            prop_assert_eq!(pauses.after(1), pauses.first.min(pauses.longest));
        }

        #[test]
        fn ids_are_bounded_and_never_collide(names in proptest::collection::vec(("[a-c/]{1,3}", "[a-cü:~]{0,3}", 0..3_usize), 2..20)) {
            let mut seen = HashMap::new();
            for (db, entity, times) in names {
                let entity = entity.repeat(times * 60);
                let id = id(&db, &entity);
                prop_assert!(id.len() <= PREFIX.len() + db.len() + 1 + READABLE + 33);
                let (first, behind) = range(Some(&db));
                prop_assert!(first <= id && id < behind);
                let (first, behind) = range(None);
                prop_assert!(first <= id && id < behind);
                let owner = seen.entry(id).or_insert_with(|| (db.clone(), entity.clone()));
                prop_assert_eq!((&owner.0, &owner.1), (&db, &entity));
            }
        }
    }
}
