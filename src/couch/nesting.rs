//! How deep in JSON text a byte stands, to find where a value ends that comes in any number of pieces.

use memchr::memchr2;

/// The brackets and quotes that are open. Nothing is held of the text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nesting {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Nesting {
    /// Of an object whose opening brace, and no other bracket, has been read.
    pub(crate) fn begun() -> Self {
        Self {
            depth: 1,
            ..Self::default()
        }
    }

    /// Whether the next byte belongs to a string.
    pub(crate) fn in_string(&self) -> bool {
        self.in_string
    }

    /// How many brackets are open.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Whether an object, an array or a string has begun and not ended.
    pub(crate) fn is_open(&self) -> bool {
        self.depth > 0 || self.in_string
    }

    /// Goes on by one byte.
    pub(crate) fn pass(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.in_string => self.is_escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// Goes on to the end of the object or array that has begun, or begins here: behind its last bracket. None if that is not in
    /// this piece.
    pub(crate) fn end(&mut self, text: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < text.len() {
            if self.in_string && !self.is_escaped {
                // Most of a document is text.
                at += memchr2(b'"', b'\\', &text[at..])?;
            }
            let byte = text[at];
            at += 1;
            self.pass(byte);
            if self.depth == 0 && !self.in_string {
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// With all that may be taken for the end of something.
    pub(crate) fn any_json() -> impl Strategy<Value = Value> {
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

    proptest! {
        /// Whatever is in it and wherever it is cut, an object ends where it ends.
        #[test]
        fn an_object_ends_where_it_ends(value in any_json(), cut in any::<prop::sample::Index>()) {
            let text = json!({"doc": value}).to_string();
            let (left, right) = text.as_bytes().split_at(cut.index(text.len()));
            let mut nesting = Nesting::default();
            prop_assert_eq!(nesting.end(left), None);
            let more = [right, b"]},{"].concat();
            prop_assert_eq!(nesting.end(&more), Some(right.len()));
        }
    }
}
