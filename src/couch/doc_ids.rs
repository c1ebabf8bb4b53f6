//! The ids of the documents in a `_bulk_docs`, found while it passes: however long it is, no more than an id is kept of it.

use std::borrow::Cow;

/// How deep a document's members are: `{"docs": [{"_id": …}]}`.
const DEPTH: usize = 3;

/// `_id`, every letter escaped, in its quotes: no longer name is it.
const LONGEST: usize = 20;

/// The longest id that is kept, as it is written. CouchDB writes longer ones, but answers 400 to every request that names one of more
/// than 8 KB in its path; escaped it takes six times as much.
const LONGEST_ID: usize = 64 << 10;

/// Reads JSON in pieces, cut anywhere.
///
/// It takes no notice of what the outer members are called, and of a doubled `_id` it finds both: nothing that CouchDB may write is
/// missed, save ids that nobody can ask for, and to find more does no harm. What is no JSON is for CouchDB to refuse.
#[derive(Default)]
pub struct DocIds {
    depth: usize,
    text: Text,
    /// The string that is being read, or was read last, with its quotes; as far as it may matter.
    string: Vec<u8>,
    /// What the next string is.
    next: Next,
}

#[derive(Default, PartialEq, Eq)]
enum Text {
    #[default]
    Outside,
    String,
    Escape,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Next {
    /// A name, or the value of any other member.
    #[default]
    Any,
    /// The value of `_id`.
    Id,
}

impl DocIds {
    /// The next piece; `found` is given every id that ends in it.
    pub fn read(&mut self, mut piece: &[u8], mut found: impl FnMut(&str)) {
        while let Some(&byte) = piece.first() {
            if self.text == Text::Outside {
                self.outside(byte);
                piece = &piece[1..];
                continue;
            }
            if self.text == Text::Escape {
                self.keep(&piece[..1]);
                self.text = Text::String;
                piece = &piece[1..];
                continue;
            }
            let special = piece.iter().position(|&byte| matches!(byte, b'"' | b'\\'));
            let Some(special) = special else {
                self.keep(piece);
                return;
            };
            let (before, rest) = piece.split_at(special + 1);
            self.keep(before);
            piece = rest;
            if before.ends_with(b"\\") {
                self.text = Text::Escape;
                continue;
            }
            self.text = Text::Outside;
            if self.depth == DEPTH && self.next == Next::Id {
                if let Some(id) = decoded(&self.string) {
                    found(&id);
                }
                self.string.clear();
            }
        }
    }

    fn outside(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.text = Text::String;
                self.string.clear();
                self.keep(b"\"");
            }
            b':' => {
                let is_id = self.depth == DEPTH && decoded(&self.string).is_some_and(|name| name == "_id");
                self.next = if is_id { Next::Id } else { Next::Any };
            }
            b',' => self.next = Next::Any,
            b'{' | b'[' => {
                self.depth += 1;
                self.next = Next::Any;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.next = Next::Any;
            }
            _ => {}
        }
    }

    fn keep(&mut self, text: &[u8]) {
        if self.depth != DEPTH {
            return;
        }
        let room = match self.next {
            Next::Id => LONGEST_ID,
            // One byte more than could be it, so that a longer name is not taken for it.
            Next::Any => LONGEST + 1,
        };
        let room = room.saturating_sub(self.string.len());
        self.string.extend_from_slice(&text[..text.len().min(room)]);
    }
}

fn decoded(string: &[u8]) -> Option<Cow<'_, str>> {
    match string {
        [b'"', plain @ .., b'"'] if !plain.contains(&b'\\') => str::from_utf8(plain).ok().map(Cow::Borrowed),
        escaped => serde_json::from_slice::<String>(escaped).ok().map(Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::{Map, Value, json};

    use super::*;

    fn ids(text: &[u8], cuts: &[usize]) -> Vec<String> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let mut reader = DocIds::default();
        let mut found = Vec::new();
        for cut in cuts.windows(2) {
            reader.read(&text[cut[0]..cut[1]], |id| found.push(id.to_owned()));
        }
        found
    }

    #[test]
    fn finds_ids_however_they_are_written() {
        for (text, expected) in [
            (r#"{"docs":[{"_id":"a"},{"_id":"b"}]}"#, &["a", "b"][..]),
            (r#" { "docs" : [ { "v" : "_id" , "_id" : "a" } ] } "#, &["a"]),
            (r#"{"docs":[{"\u005f\u0069\u0064":"\u0061\"\\"}]}"#, &["a\"\\"]),
            (r#"{"docs":[{"x":{"_id":"no"},"y":["_id","no"],"_id":"é"}]}"#, &["é"]),
            (
                r#"{"docs":[{"_id":7,"x":"no"},{"_id":{"a":"no"}},{"_id":["no"]}]}"#,
                &[],
            ),
            (
                r#"{"docs":[{"_id":"a","_id":"b"}],"new_edits":false,"_id":"no"}"#,
                &["a", "b"],
            ),
            (
                r#"{"docs":[{"_id_":"no","__id":"no","a\"_id":"no","_id\\":"no"}]}"#,
                &[],
            ),
            (r#"{"docs":[{"a_name_that_is_quite_long_id":"no","_id":""}]}"#, &[""]),
            (r#"]]}}{"_id"#, &[]),
        ] {
            for cut in 0..=text.len() {
                assert_eq!(ids(text.as_bytes(), &[cut]), expected, "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn an_id_is_kept_as_far_as_it_can_be_asked_for() {
        let long = "a".repeat(8 << 10);
        let endless = "b".repeat(1 << 20);
        let text = format!(r#"{{"docs":[{{"_id":"{long}"}},{{"_id":"{endless}"}},{{"_id":"c"}}]}}"#);
        let mut reader = DocIds::default();
        let mut found = Vec::new();
        for piece in text.as_bytes().chunks(1000) {
            reader.read(piece, |id| found.push(id.to_owned()));
        }
        assert_eq!(found, [&long, "c"]);
        assert!(reader.string.capacity() <= 2 * LONGEST_ID);
    }

    /// Documents with awkward names and values, nested ones among them.
    fn documents() -> impl Strategy<Value = Vec<Value>> {
        let text = prop_oneof![Just("_id".to_owned()), "[a-z\"\\\\{}\\[\\]:,é\n]{0,30}"];
        let leaf = prop_oneof![text.clone().prop_map(Value::from), any::<i32>().prop_map(Value::from)];
        let value = leaf.prop_recursive(3, 12, 3, move |inner| {
            let members = vec((text.clone(), inner.clone()), 0..3);
            prop_oneof![
                vec(inner, 0..3).prop_map(Value::from),
                members.prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
            ]
        });
        let name = prop_oneof![Just("_id".to_owned()), "[_id\"\\\\:]{0,4}"];
        let document = vec((name, value), 0..4).prop_map(|members| Value::Object(members.into_iter().collect()));
        vec(document, 0..5)
    }

    proptest! {
        #[test]
        fn finds_what_a_parser_finds(docs in documents(), cuts in vec(any::<usize>(), 0..8), pretty in any::<bool>()) {
            let body = json!({ "new_edits": false, "docs": &docs });
            let text = if pretty { serde_json::to_vec_pretty(&body) } else { serde_json::to_vec(&body) }.unwrap();
            let expected: Vec<&str> = docs.iter().filter_map(|doc| doc["_id"].as_str()).collect();
            prop_assert_eq!(ids(&text, &cuts), expected);
        }

        #[test]
        fn survives_anything(text in vec(any::<u8>(), 0..200), cuts in vec(any::<usize>(), 0..4)) {
            ids(&text, &cuts);
        }
    }
}
