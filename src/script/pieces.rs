//! What stands in an object or array, as texts.

use memchr::memchr2;

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
        let is_between = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b':');
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
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = quote(text, at + 1),
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => depth -= 1,
            b'}' | b']' | b',' | b' ' | b'\n' | b'\r' | b'\t' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
        if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
            return at;
        }
    }
    at
}

/// Where the quote is that ends a string.
fn quote(text: &[u8], mut at: usize) -> usize {
    while let Some(n) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += n;
        if text[at] == b'"' {
            return at;
        }
        at += 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let text = "[a-c{}\\[\\]\",:\\\\\n é]{0,6}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((text, inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

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
