//! Revisions and documents are read as they are written, and what is read once can be read again.
#![no_main]

use std::cmp::Ordering;

use chesterfield::couch::{Document, Rev};
use chesterfield::reconcile::revision::{EditId, Kind, derived};
use libfuzzer_sys::fuzz_target;

fn rev(text: &str) -> Option<Rev> {
    let rev: Rev = text.parse().ok()?;
    assert_eq!(rev.to_string().parse().as_ref(), Ok(&rev), "{text:?}");
    assert!((1..=Rev::LAST_GENERATION).contains(&rev.generation()));
    Some(rev)
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some((a, b)) = text.split_once('\n') {
        if let (Some(a), Some(b)) = (rev(a), rev(b)) {
            assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            assert_eq!(a.cmp(&b) == Ordering::Equal, a == b);
            let next = derived("doc", EditId::of(&b), Some(&a), &[], Kind::Mirror);
            assert_eq!(
                (EditId::of(&next), Kind::of("doc", &next)),
                (EditId::of(&b), Kind::Mirror)
            );
        }
    }
    let Ok(document) = serde_json::from_str::<Document>(text) else {
        return;
    };
    let generations = document.revisions.iter().map(Rev::generation);
    assert!(
        generations
            .clone()
            .zip(generations.skip(1))
            .all(|(newer, older)| newer == older + 1)
    );
    let written = serde_json::to_string(&document).expect("what was read can be written");
    let again: Document = serde_json::from_str(&written).expect("and read again");
    assert_eq!(written, serde_json::to_string(&again).expect("as before"));
    assert!(document.fields.same_as(&again.fields));
});
