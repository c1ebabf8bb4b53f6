//! What stands in an object or array, as texts.

use crate::couch::nesting::Nesting;

/// The values within a text that is known to be an object or array of JSON: of an object name and value in turn.
pub struct Pieces<'t>(&'t str);

impl<'t> Pieces<'t> {
    pub fn of(text: &'t str) -> Self {
        Self(text.get(1..).unwrap_or_default())
    }
}

impl<'t> Iterator for Pieces<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let bytes = self.0.as_bytes();
        let start = bytes.iter().position(|byte| !is_between(byte))?;
        let end = start + end(&bytes[start..]);
        let piece = self.0.get(start..end).filter(|piece| !piece.is_empty())?;
        self.0 = &self.0[end..];
        Some(piece)
    }
}

/// Where the value ends that a text begins with.
fn end(text: &[u8]) -> usize {
    let end = match text.first() {
        Some(b'{' | b'[' | b'"') => Nesting::default().end(text),
        _ => text
            .iter()
            .position(|byte| is_between(byte) || matches!(byte, b'}' | b']')),
    };
    end.unwrap_or(text.len())
}

fn is_between(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b':')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::couch::nesting::tests::any_json;

    fn read(pieces: Pieces) -> Vec<Value> {
        pieces
            .map(|piece| serde_json::from_str(piece).expect("a value"))
            .collect()
    }

    proptest! {
        /// However it is written, all that is in it is found.
        #[test]
        fn all_is_found(values in proptest::collection::vec(any_json(), 0..5), is_pretty in any::<bool>()) {
            let write = if is_pretty { serde_json::to_string_pretty } else { serde_json::to_string };
            prop_assert_eq!(&read(Pieces::of(&write(&json!(values)).expect("a text"))), &values);
            let object: Value = values.iter().enumerate().map(|(n, value)| (format!("\"{n}"), value.clone())).collect();
            let members: Vec<Value> = (0..).zip(&values).flat_map(|(n, value)| [json!(format!("\"{n}")), value.clone()]).collect();
            prop_assert_eq!(read(Pieces::of(&write(&object).expect("a text"))), members);
        }
    }
}
