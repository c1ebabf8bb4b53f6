//! The address book of `examples/address-book`: a name in two parts, a phone that became many, an address of its own that need not be there.

use serde_json::{Value, json};

use crate::{
    app::{Doing, Model, Schemas, Shown, Written},
    check::Seen,
};

pub struct AddressBook;

/// A contact in all versions, and its address.
pub fn contact(key: &str) -> [String; 5] {
    [
        format!("contact:{key}"),
        format!("contact:{key}:v:2"),
        format!("contact:{key}:v:3"),
        format!("contact:{key}:v:4"),
        format!("contact-address:{key}:v:1"),
    ]
}

impl AddressBook {
    fn new_contact(doing: &Doing) -> Value {
        let mut body = json!({"schema": "contact", "version": doing.version});
        match doing.version {
            1 => body["name"] = json!(format!("Ada {}", doing.title)),
            version => {
                body["firstName"] = json!("Ada");
                body["lastName"] = json!(doing.title);
                if version > 2 {
                    body["phones"] = json!([]);
                }
            }
        }
        body
    }

    /// Who has another number keeps all others.
    fn call(body: &mut Value, version: usize, number: &str) {
        match version {
            1 | 2 => body["phone"] = json!(number),
            version => {
                let phone = match version {
                    3 => json!(number),
                    _ => json!({"number": number, "kind": "mobile"}),
                };
                body["phones"].as_array_mut().unwrap().insert(0, phone);
            }
        }
    }
}

impl Model for AddressBook {
    fn name(&self) -> &'static str {
        "address book"
    }

    fn schemas(&self) -> Schemas {
        Schemas::of("examples/address-book/schemas")
    }

    fn versions(&self) -> &'static [&'static str] {
        &[
            "address-book@1.0.0",
            "address-book@2.0.0",
            "address-book@3.0.0",
            "address-book@4.0.0",
        ]
    }

    fn works_on(&self, version: usize, key: &str) -> Vec<String> {
        vec![contact(key)[version - 1].clone()]
    }

    fn resolves(&self, version: usize, key: &str) -> Vec<String> {
        let [.., address] = contact(key);
        let address = (version == 4).then_some(address);
        self.works_on(version, key).into_iter().chain(address).collect()
    }

    fn done(&self, doing: &Doing, shown: Shown<'_>) -> Vec<Written> {
        let documents = contact(&doing.key);
        let id = documents[doing.version - 1].clone();
        let Some(mut body) = shown(&id) else {
            return vec![(id, Some(Self::new_contact(doing)))];
        };
        let lives = doing.choice % 4;
        if doing.version == 4 && doing.is_free && lives < 2 {
            let [.., address] = documents;
            let is_there = shown(&address).is_some();
            let body = json!({"schema": "contact-address", "version": 1, "city": doing.title, "country": "UK"});
            return vec![(address, (lives == 0 || !is_there).then_some(body))];
        }
        match (lives, doing.version) {
            (0, 1..=3) => body["city"] = json!(doing.title),
            (1, 1..=3) if doing.is_free => drop(body.as_object_mut().unwrap().remove("city")),
            (2, version) => Self::call(&mut body, version, &doing.title),
            (_, 1) => body["name"] = json!(format!("Ada {}", doing.title)),
            _ => body["lastName"] = json!(doing.title),
        }
        vec![(id, Some(body))]
    }

    fn disagreements(&self, seen: &Seen, key: &str) -> Vec<String> {
        let documents = contact(key);
        let [one, two, three, four, address] = documents.each_ref().map(|id| seen.shown(id));
        let field = |body: Option<&Value>, name: &str| body.map(|body| body[name].clone());
        let mut told = Vec::new();
        let mut compare = |what: &str, is_same: bool| {
            if !is_same {
                told.push(format!(
                    "{what} of {key}: {one:?} {two:?} {three:?} {four:?} {address:?}"
                ));
            }
        };
        let whole = two.map(|two| {
            let [first, last] = ["firstName", "lastName"].map(|name| two[name].as_str().unwrap_or_default());
            json!(format!("{first} {last}"))
        });
        compare("names", field(one, "name") == whole);
        for part in ["firstName", "lastName"] {
            compare(part, field(two, part) == field(three, part));
            compare(part, field(three, part) == field(four, part));
        }
        compare("phones", field(one, "phone") == field(two, "phone"));
        let first = three.map(|three| three["phones"].get(0).cloned().unwrap_or_default());
        compare("first phones", field(two, "phone") == first);
        let numbers = four.and_then(|four| {
            let phones = four["phones"].as_array()?.iter();
            Some(Value::Array(phones.map(|phone| phone["number"].clone()).collect()))
        });
        compare("numbers", field(three, "phones") == numbers);
        compare("cities", field(one, "city") == field(two, "city"));
        compare("cities", field(two, "city") == field(three, "city"));
        // Of an address in conflict, or deleted while others worked on it, one of its sides may be shown.
        let live = |id: &str| seen.tree(id).map_or(0, |tree| tree.live().len());
        let is_told = match live(&documents[4]) {
            0 => live(&documents[2]) == 1,
            live => live == 1,
        };
        if let (Some(three), true) = (three, is_told) {
            let city = address.map_or(Value::Null, |address| address["city"].clone());
            compare("city and address", three["city"] == city);
        }
        told
    }

    fn is_optional(&self, id: &str) -> bool {
        id.starts_with("contact-address:")
    }
}
