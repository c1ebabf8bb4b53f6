//! CouchDB's own revision hash: MD5 of the edit as an Erlang term, so the same edit gets the same revision there and here.

use md5::{Digest, Md5};
use serde_json::{Map, Number, Value};

/// An attachment as it enters the hash.
pub struct HashedAttachment<'a> {
    pub name: &'a str,
    pub content_type: &'a str,
    pub md5: &'a [u8],
}

/// The hash of a new revision over `parent`, `couch_db:new_revid/1`:
/// `md5(term_to_binary([Deleted, OldStart, OldRev, Body, Atts], [{minor_version, 1}]))`.
pub fn new_rev_hash(
    deleted: bool,
    parent: Option<(u64, &str)>,
    body: &Map<String, Value>,
    attachments: &[HashedAttachment<'_>],
) -> String {
    let mut term = Term(vec![131]);
    term.list(5);
    term.atom(if deleted { "true" } else { "false" });
    term.integer(parent.map_or(0, |(start, _)| start).into());
    match parent {
        // A revision of 32 hex digits is 16 bytes in CouchDB, any other is its text.
        Some((_, hash)) => term.binary(&digest_bytes(hash).unwrap_or_else(|| hash.as_bytes().to_vec())),
        None => term.integer(0),
    }
    term.object(body);
    if !attachments.is_empty() {
        term.list(attachments.len());
        for attachment in attachments {
            term.tuple(3);
            term.binary(attachment.name.as_bytes());
            term.binary(attachment.content_type.as_bytes());
            term.binary(attachment.md5);
        }
    }
    term.nil();
    term.nil();
    format!("{:x}", Md5::digest(&term.0))
}

fn digest_bytes(hash: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = hash.chars().map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    (digits.len() == 32).then(|| digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

/// Erlang's external term format, as far as JSON needs it.
struct Term(Vec<u8>);

impl Term {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.atom("null"),
            Value::Bool(true) => self.atom("true"),
            Value::Bool(false) => self.atom("false"),
            Value::Number(number) => self.number(number),
            Value::String(text) => self.binary(text.as_bytes()),
            Value::Array(items) => self.array(items),
            Value::Object(object) => self.object(object),
        }
    }

    /// `{[{<<"key">>, Value}, …]}`
    fn object(&mut self, object: &Map<String, Value>) {
        self.tuple(1);
        if !object.is_empty() {
            self.list(object.len());
            for (key, value) in object {
                self.tuple(2);
                self.binary(key.as_bytes());
                self.value(value);
            }
        }
        self.nil();
    }

    /// Erlang writes a list of bytes as a string, however it came to be.
    fn array(&mut self, items: &[Value]) {
        let bytes: Option<Vec<u8>> = items
            .iter()
            .map(|v| v.as_u64().and_then(|n| n.try_into().ok()))
            .collect();
        match bytes {
            Some(bytes) if !bytes.is_empty() && bytes.len() <= usize::from(u16::MAX) => {
                self.0.push(107);
                self.0.extend((bytes.len() as u16).to_be_bytes());
                self.0.extend(bytes);
            }
            _ => {
                if !items.is_empty() {
                    self.list(items.len());
                    items.iter().for_each(|item| self.value(item));
                }
                self.nil();
            }
        }
    }

    fn number(&mut self, number: &Number) {
        match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(n), ..) => self.integer(n.into()),
            (_, Some(n), _) => self.integer(n.into()),
            (.., Some(float)) => {
                self.0.push(70);
                self.0.extend(float.to_be_bytes());
            }
            _ => self.nil(),
        }
    }

    fn integer(&mut self, n: i128) {
        if let Ok(byte) = u8::try_from(n) {
            self.0.extend([97, byte]);
        } else if let Ok(int) = i32::try_from(n) {
            self.0.push(98);
            self.0.extend(int.to_be_bytes());
        } else {
            let magnitude = n.unsigned_abs().to_le_bytes();
            let length = magnitude.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            self.0.extend([110, length as u8, u8::from(n < 0)]);
            self.0.extend(&magnitude[..length]);
        }
    }

    fn atom(&mut self, name: &str) {
        self.0.push(100);
        self.0.extend((name.len() as u16).to_be_bytes());
        self.0.extend(name.as_bytes());
    }

    fn binary(&mut self, bytes: &[u8]) {
        self.0.push(109);
        self.0.extend((bytes.len() as u32).to_be_bytes());
        self.0.extend(bytes);
    }

    fn tuple(&mut self, arity: u8) {
        self.0.extend([104, arity]);
    }

    fn list(&mut self, length: usize) {
        self.0.push(108);
        self.0.extend((length as u32).to_be_bytes());
    }

    fn nil(&mut self) {
        self.0.push(106);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hash(deleted: bool, parent: Option<(u64, &str)>, body: Value) -> String {
        new_rev_hash(deleted, parent, body.as_object().unwrap(), &[])
    }

    /// Revisions a CouchDB 3.5.2 gave (transcripts, documents and bulk).
    #[test]
    fn agrees_with_couchdb() {
        let first = "7a7e4b29f3af401e69b6f86e4c26b727";
        assert_eq!(hash(false, None, json!({"v": 1})), first);
        assert_eq!(
            hash(false, Some((1, first)), json!({"v": 2})),
            "d0df861eb528e79690cd2ff3c4d394f3"
        );
        assert_eq!(
            hash(true, Some((1, first)), json!({})),
            "d9b15b235a7d0afdfe6058d5fb8afbd1"
        );
        assert_eq!(
            hash(false, Some((3, "ccc")), json!({"v": 4})),
            "3a3f7cba03e887a50bfcec43c65027b7"
        );
        assert_eq!(hash(false, None, json!({"n": 1})), "731bef401491606a3b246ed178e697c1");
        assert_eq!(hash(false, None, json!({"n": 1.0})), "8d67c334d2bd4034ce020a31f9b1e769");
        assert_eq!(
            hash(
                false,
                None,
                json!({"z": 1, "a": 2, "m": {"y": 1, "b": 2}, "10": 1, "9": 2})
            ),
            "c56e3ffc2544b3bf4528c29d65194b44"
        );
    }
}
