//! One entity of each app, as every version shows it.

use serde_json::{Value, json};

/// A document of an entity, as the versions of the app that work with it see it.
pub struct Shown {
    pub class: &'static str,
    /// With `{}` for the key.
    pub id: &'static str,
    pub versions: &'static [usize],
    /// None: there is no such document.
    pub fields: Option<Value>,
}

/// An entity's documents in every version, in one of four states.
pub type Entity = fn(state: usize) -> Vec<Shown>;

impl Shown {
    /// Of this entity's document.
    pub fn id(&self, key: &str) -> String {
        self.id.replace("{}", key)
    }

    /// `Null` if there is none.
    pub fn document(&self) -> Value {
        let Some(mut document) = self.fields.clone() else {
            return Value::Null;
        };
        let (schema, version) = self.class.split_once('@').unwrap();
        document["schema"] = schema.into();
        document["version"] = version.parse::<u64>().unwrap().into();
        document
    }
}

fn shown(class: &'static str, id: &'static str, versions: &'static [usize], fields: Value) -> Shown {
    let fields = Some(fields).filter(|fields| !fields.is_null());
    Shown {
        class,
        id,
        versions,
        fields,
    }
}

/// In state 1 nobody knows where they live.
pub fn contact(state: usize) -> Vec<Shown> {
    let (first, last) = [
        ("Ada", "Byron"),
        ("Ada", "King"),
        ("Augusta Ada", "King"),
        ("Ada", "Lovelace"),
    ][state];
    let phone = format!("+44 20 {state}");
    let with_city = |mut contact: Value| {
        if state != 1 {
            contact["city"] = "London".into();
        }
        contact
    };
    let address = if state == 1 { Value::Null } else { with_city(json!({})) };
    let name = format!("{first} {last}");
    vec![
        shown(
            "contact@1",
            "contact:{}",
            &[1],
            with_city(json!({"name": name, "phone": phone})),
        ),
        shown(
            "contact@2",
            "contact:{}:v:2",
            &[2],
            with_city(json!({"firstName": first, "lastName": last, "phone": phone})),
        ),
        shown(
            "contact@3",
            "contact:{}:v:3",
            &[3],
            with_city(json!({"firstName": first, "lastName": last, "phones": [phone]})),
        ),
        shown(
            "contact@4",
            "contact:{}:v:4",
            &[4],
            json!({"firstName": first, "lastName": last, "phones": [{"number": phone, "kind": "other"}]}),
        ),
        shown("contact-address@1", "contact-address:{}:v:1", &[4], address),
    ]
}

pub fn item(state: usize) -> Vec<Shown> {
    let name = ["Hammer", "Sledge hammer", "Mallet", "Gavel"][state];
    let (grams, kilograms) = [(1250, 1.25), (4002, 4.002), (501, 0.501), (7, 0.007)][state];
    let (price, cents) = [(19.9, 1990), (48.5, 4850), (0.01, 1), (12.34, 1234)][state];
    let (milliseconds, moment) = [
        (1_772_366_400_000_u64, "2026-03-01T12:00:00.000Z"),
        (1_772_366_400_001, "2026-03-01T12:00:00.001Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
    ][state];
    let variants = |stock: &str| json!([{"sku": "R", "color": "red", stock: state}, {"sku": "B", stock: 7}]);
    vec![
        shown(
            "item@1",
            "item:{}:v:1",
            &[1],
            json!({"name": name, "grams": grams, "price": price, "added": milliseconds, "category": name, "variants": variants("stock")}),
        ),
        shown(
            "item@2",
            "item:{}:v:2",
            &[2],
            json!({"name": name, "kilograms": kilograms, "price": price, "added": moment, "category": name, "variants": variants("stock")}),
        ),
        shown(
            "item@3",
            "item:{}:v:3",
            &[3],
            json!({"name": name, "kilograms": kilograms, "price": {"amount": cents, "currency": "EUR"}, "added": moment,
                "category": {"name": name}, "variants": variants("quantity")}),
        ),
    ]
}

/// In state 1 it is deleted.
pub fn message(state: usize) -> Vec<Shown> {
    let (text, body) = [
        (
            "Tea at *five*?",
            json!([{"text": "Tea at "}, {"text": "five", "bold": true}, {"text": "?"}]),
        ),
        ("", json!([])),
        ("_Now_", json!([{"text": "Now", "italic": true}])),
        ("No", json!([{"text": "No"}])),
    ][state]
        .clone();
    let (deleted, status) = (state == 1, if state == 1 { "deleted" } else { "sent" });
    let with = |mut message: Value| {
        message.as_object_mut().unwrap().extend(
            json!({"room": "kitchen", "author": "ada", "sentAt": "2026-03-01T12:00:00Z"})
                .as_object()
                .unwrap()
                .clone(),
        );
        message
    };
    vec![
        shown(
            "message@1",
            "message:{}:v:1",
            &[1],
            with(json!({"text": text, "deleted": deleted})),
        ),
        shown(
            "message@2",
            "message:{}:v:2",
            &[2],
            with(json!({"text": text, "status": status, "reactions": {}})),
        ),
        shown(
            "message@3",
            "message:{}:v:3",
            &[3],
            with(json!({"body": body, "status": status, "reactions": {}})),
        ),
    ]
}

/// One document in every version; the key is of no account.
pub fn settings(state: usize) -> Vec<Shown> {
    let theme = ["light", "dark"][state % 2];
    let (notifications, notify) = [(true, "all"), (false, "none")][state / 2];
    vec![
        shown(
            "settings@1",
            "settings",
            &[1],
            json!({"theme": theme, "notifications": notifications}),
        ),
        shown(
            "settings@2",
            "settings:v:2",
            &[2, 3],
            json!({"theme": theme, "notify": notify}),
        ),
    ]
}

pub fn gone(documents: Vec<Shown>) -> Vec<Shown> {
    let gone = documents.into_iter().map(|shown| Shown { fields: None, ..shown });
    gone.collect()
}

pub fn versions(entity: Entity) -> Vec<usize> {
    let mut versions: Vec<usize> = entity(0).iter().flat_map(|shown| shown.versions).copied().collect();
    versions.sort_unstable();
    versions.dedup();
    versions
}
