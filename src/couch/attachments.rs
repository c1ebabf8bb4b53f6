//! What a document says of its attachments where their bytes are not shown: a stub for each, by name.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::Document;

/// `_attachments`, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attachments(IndexMap<String, Attachment>);

/// One attachment, as `att_encoding_info=true` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its media type.
    pub content_type: String,
    /// The generation of the document in which it came. A stub that is written has to name the one that is stored; what replicators
    /// send as data is what came after the generation that their target has (`atts_since`).
    pub revpos: u64,
    /// `md5-` and the Base64 of the MD5 of the bytes as they are stored: of `text/plain`, CouchDB's gzip of them.
    pub digest: String,
    /// Its bytes, decoded. Of one that a client sent gzipped, CouchDB only knows the encoded length, and tells that.
    pub length: u64,
    /// `gzip`, if it is stored so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Its bytes as they are stored, if they are encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoded_length: Option<u64>,
    /// Its bytes follow in another part of the request; else they are stored already.
    #[serde(flatten)]
    pub form: Form,
}

/// How an attachment is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Forms", into = "Forms")]
pub enum Form {
    /// As the one of its name and `revpos` that the document has.
    #[default]
    Stub,
    /// With its bytes in another part of the request.
    Follows,
}

#[derive(Serialize, Deserialize)]
struct Forms {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stub: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    follows: bool,
}

impl From<Forms> for Form {
    fn from(forms: Forms) -> Self {
        if forms.follows { Self::Follows } else { Self::Stub }
    }
}

impl From<Form> for Forms {
    fn from(form: Form) -> Self {
        Self {
            stub: form == Form::Stub,
            follows: form == Form::Follows,
        }
    }
}

impl Attachment {
    /// The same bytes of the same type.
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest && self.content_type == other.content_type
    }

    /// How many bytes are sent of it, as it is stored.
    pub fn stored_length(&self) -> u64 {
        self.encoded_length.unwrap_or(self.length)
    }
}

impl Attachments {
    /// Those of a document that was read; nothing if it has none, or shows their bytes.
    pub fn of(document: &Document) -> Option<Self> {
        serde_json::from_str(document.attachments.as_ref()?.get()).ok()
    }

    /// As a document's member; nothing if there is none.
    pub fn written(&self) -> Option<Box<RawValue>> {
        (!self.is_empty()).then(|| to_raw_value(self).ok()).flatten()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By its name.
    pub fn get(&self, name: &str) -> Option<&Attachment> {
        self.0.get(name)
    }

    /// Where it stands, or at the end.
    pub fn set(&mut self, name: &str, attachment: Attachment) {
        self.0.insert(name.to_owned(), attachment);
    }

    /// The others keep their order.
    pub fn remove(&mut self, name: &str) {
        self.0.shift_remove(name);
    }

    /// Each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attachment)> {
        self.0.iter().map(|(name, attachment)| (name.as_str(), attachment))
    }

    /// The same names for the same bytes, in any order, whenever they came.
    pub fn is_same(&self, other: &Self) -> bool {
        let has_same = |(name, attachment): (&str, &Attachment)| other.get(name).is_some_and(|o| o.is_same(attachment));
        self.0.len() == other.0.len() && self.iter().all(has_same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = r#"{"b":{"content_type":"image/png","revpos":3,"digest":"md5-RBB3zJ5XVU3Udr37i4uBAg==","length":2,"stub":true},"a/t.txt":{"content_type":"text/plain","revpos":1,"digest":"md5-iZnIgHaZ3ETVHDtRSQc4IA==","length":23,"encoding":"gzip","encoded_length":28,"stub":true}}"#;

    fn document(attachments: &str) -> Document {
        serde_json::from_str(&format!(r#"{{"_id":"a","_attachments":{attachments}}}"#)).unwrap()
    }

    #[test]
    fn stubs_are_written_as_they_were_read() {
        let read = Attachments::of(&document(SHOWN)).unwrap();
        assert_eq!(read.written().unwrap().get(), SHOWN);
        let text = read.get("a/t.txt").unwrap();
        assert_eq!((text.length, text.stored_length()), (23, 28));
        let follows = Attachment {
            form: Form::Follows,
            ..text.clone()
        };
        let text = serde_json::to_string(&follows).unwrap();
        assert!(text.ends_with(r#""follows":true}"#) && !text.contains("stub"), "{text}");
    }

    #[test]
    fn bytes_and_their_type_make_an_attachment_not_when_it_came() {
        let read = Attachments::of(&document(SHOWN)).unwrap();
        let mut other = read.clone();
        let b = Attachment {
            revpos: 7,
            ..read.get("b").unwrap().clone()
        };
        other.remove("b");
        assert!(!other.is_same(&read) && !read.is_same(&other));
        other.set("b", b.clone());
        assert!(other.is_same(&read));
        other.set(
            "b",
            Attachment {
                content_type: "image/gif".to_owned(),
                ..b
            },
        );
        assert!(!other.is_same(&read));
        assert!(Attachments::default().written().is_none());
        assert!(Attachments::of(&document(r#"{"b":{"content_type":"a/b","data":"eA=="}}"#)).is_none());
    }
}
