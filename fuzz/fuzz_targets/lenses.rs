//! A lens answers whatever documents it is given, and always the same; what it makes is JSON.
#![no_main]

use std::sync::LazyLock;

use chesterfield::{
    config::Schemas,
    couch::{Document, Fields},
    lens::{Made, Put},
    schema::Direction,
};
use chesterfield_fuzz::{Bytes, schemas};
use libfuzzer_sys::fuzz_target;

static SCHEMAS: LazyLock<Vec<Schemas>> = LazyLock::new(schemas);

fn told(put: &Put, lens: &chesterfield::lens::Lens) -> String {
    match lens.put(put) {
        Ok(Made::Document(fields)) => {
            let document = Document {
                fields,
                ..Document::default()
            };
            let text = serde_json::to_string(&document).expect("it can be written");
            let read: serde_json::Result<Document> = serde_json::from_str(&text);
            assert!(read.is_ok(), "no JSON: {text}");
            text
        }
        Ok(made) => format!("{made:?}"),
        Err(error) => error.to_string(),
    }
}

fuzz_target!(|data: &[u8]| {
    let (choices, texts) = data.split_at(data.len().min(4));
    let mut choices = Bytes(choices);
    let schemas = &SCHEMAS[choices.below(SCHEMAS.len())];
    let lens = choices.below(schemas.lenses.len());
    let Some(lens) = schemas.lenses.get(lens) else { return };
    let to = Direction::BOTH[choices.below(2)];
    let (near, far) = lens.step().sides(to);
    // A lens may end a class: then nothing is on its far side.
    let target = choices.below(far.len());
    let Some(&target) = far.get(target) else { return };
    // Documents are apart by a byte that no text holds.
    let mut texts = texts.split(|byte| *byte == 0xff);
    let mut next = || -> Option<Fields> {
        let document: Document = serde_json::from_slice(texts.next()?).ok()?;
        Some(document.fields)
    };
    let old = next();
    let sources: Vec<Option<Fields>> = near.iter().map(|_| next()).collect();
    let sources: Vec<Option<&Fields>> = sources.iter().map(Option::as_ref).collect();
    let put = Put {
        to,
        target,
        key: "k",
        sources: &sources,
        old: old.as_ref(),
    };
    assert_eq!(told(&put, lens), told(&put, lens));
});
