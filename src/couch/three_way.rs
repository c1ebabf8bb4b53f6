//! Three-way merge: two documents that stem from a third become one, field by field.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Document, Fields, document::same_value};

/// What two documents make, and on top of which of them it stands.
#[derive(Clone, Debug)]
pub struct ThreeWay {
    /// It stands on top of the second document, which alone has other attachments than the base: CouchDB finds an attachment that is
    /// named only on the branch where it is (transcripts, attachments 84-86).
    pub is_on_second: bool,
    /// The fields, in the order and with the texts of the document on top of which they stand, as far as it has them.
    pub fields: Fields,
}

/// Makes the changes of both sides since `base`. None if they *clash*: a field that both have changed, unless they have made the
/// same of it, or that one has removed and the other changed. Values are compared as by [`Fields::same_as`], each field as a whole;
/// all attachments together count as one field.
pub fn three_way(base: &Document, first: &Document, second: &Document) -> Option<ThreeWay> {
    let is_same = same_attachments(first, second);
    let is_on_second = !is_same && same_attachments(first, base);
    if !is_same && !is_on_second && !same_attachments(second, base) {
        return None;
    }
    let (under, over) = if is_on_second { (second, first) } else { (first, second) };
    let fields = merged(&base.fields, &under.fields, &over.fields)?;
    Some(ThreeWay { is_on_second, fields })
}

/// `under` with what `over` has changed since `base`.
fn merged(base: &Fields, under: &Fields, over: &Fields) -> Option<Fields> {
    let [base, mine, theirs] = [base, under, over].map(|fields| fields.iter().collect::<HashMap<_, _>>());
    let mut merged = under.clone();
    // What is new stands in the order in which it stood there.
    for (name, _) in over.iter().chain(under.iter()) {
        let [was, mine, theirs] = [&base, &mine, &theirs].map(|fields| fields.get(name).copied());
        if same(mine, theirs) || same(theirs, was) {
            continue;
        }
        if !same(mine, was) {
            return None;
        }
        match theirs {
            Some(value) => merged.set(name, value.to_owned()),
            None => drop(merged.take(name)),
        }
    }
    Some(merged)
}

fn same(a: Option<&RawValue>, b: Option<&RawValue>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => same_value(a, b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// What tells one attachment from another. In what generation it was written does not.
#[derive(Deserialize)]
struct Attachment {
    content_type: Option<String>,
    digest: Option<String>,
    data: Option<String>,
}

/// The same names with the same content, as far as that can be told: by the digest, or by the data itself.
pub(super) fn same_attachments(a: &Document, b: &Document) -> bool {
    let [a, b] = [a, b].map(|document| document.attachments.as_deref().map_or("{}", RawValue::get));
    let read = |text| serde_json::from_str::<BTreeMap<String, Attachment>>(text).ok();
    let is_same = |a: &Attachment, b: &Attachment| {
        a.content_type == b.content_type
            && match (&a.digest, &b.digest) {
                (Some(a), Some(b)) => a == b,
                _ => a.data.is_some() && a.data == b.data,
            }
    };
    a == b
        || matches!((read(a), read(b)), (Some(a), Some(b)) if a.len() == b.len()
            && a.iter().zip(&b).all(|((name, a), (other, b))| name == other && is_same(a, b)))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_map, prelude::*};
    use serde_json::{Value, json};

    use super::*;

    fn document(value: &Value) -> Document {
        serde_json::from_str(&value.to_string()).unwrap()
    }

    fn made(base: &Value, first: &Value, second: &Value) -> Option<Value> {
        let made = three_way(&document(base), &document(first), &document(second))?;
        Some(serde_json::to_value(&made.fields).unwrap())
    }

    /// Few names and few values: both sides meet often.
    fn fields() -> impl Strategy<Value = Value> {
        let value = prop_oneof![
            Just(json!(1)),
            Just(json!("x")),
            Just(json!([1, {"y": null}])),
            Just(json!(null))
        ];
        btree_map("[abc]", value, 0..4).prop_map(|fields| json!(fields))
    }

    proptest! {
        /// Told by the rule for one field, for each by itself.
        #[test]
        fn each_field_is_what_its_sides_make_of_it(base in fields(), first in fields(), second in fields()) {
            let made = made(&base, &first, &second);
            let mut clashes = false;
            for name in ["a", "b", "c"] {
                let [was, one, other] = [&base, &first, &second].map(|fields| fields.get(name));
                let expected = if one == was { other } else { one };
                clashes |= one != was && other != was && one != other;
                if let Some(made) = &made {
                    prop_assert_eq!(made.get(name), expected, "{}", name);
                }
            }
            prop_assert_eq!(made.is_none(), clashes);
        }

        #[test]
        fn it_does_not_matter_which_side_is_which(base in fields(), first in fields(), second in fields()) {
            prop_assert_eq!(made(&base, &first, &second), made(&base, &second, &first));
        }

        #[test]
        fn who_has_changed_nothing_has_no_say(base in fields(), first in fields()) {
            prop_assert_eq!(made(&base, &first, &base), Some(first.clone()));
            prop_assert_eq!(made(&base, &first, &first), Some(first.clone()));
        }
    }

    #[test]
    fn texts_and_order_stay() {
        let read = |text: &str| serde_json::from_str::<Document>(text).unwrap();
        let base = read(r#"{"a":1.0,"b":"x","c":3,"d":[1,2]}"#);
        let first = read(r#"{"d":[1, 2],"c":30,"b":"\u0078","a":1.0}"#);
        let second = read(r#"{"a":1e2,"b":"x","d":[1,2],"c":3,"f":9007199254740993,"e":0}"#);
        let made = three_way(&base, &first, &second).unwrap();
        assert_eq!(
            serde_json::to_string(&made.fields).unwrap(),
            r#"{"d":[1, 2],"c":30,"b":"\u0078","a":1e2,"f":9007199254740993,"e":0}"#
        );
    }

    #[test]
    fn numbers_are_told_apart_as_couchdb_does() {
        let [base, one, other] =
            [r#"{"n":2}"#, r#"{"n":1}"#, r#"{"n":1.0}"#].map(|text| serde_json::from_str(text).unwrap());
        assert!(three_way(&base, &one, &other).is_none());
    }

    #[test]
    fn attachments_count_as_one_field() {
        let with = |title: &str, digest: Option<&str>| {
            let stub = digest
                .map(|digest| json!({"p": {"content_type": "image/png", "revpos": 2, "digest": digest, "stub": true}}));
            let mut document = document(&json!({"title": title}));
            document.attachments = stub.map(|stub| serde_json::value::to_raw_value(&stub).unwrap());
            document
        };
        let base = with("a", Some("md5-1"));
        let made = |first, second| three_way(&base, &first, &second).map(|made| made.is_on_second);
        assert_eq!(made(with("b", Some("md5-1")), with("a", Some("md5-1"))), Some(false));
        assert_eq!(made(with("b", Some("md5-2")), with("a", Some("md5-1"))), Some(false));
        assert_eq!(made(with("b", Some("md5-1")), with("a", None)), Some(true));
        assert_eq!(made(with("b", Some("md5-2")), with("a", Some("md5-2"))), Some(false));
        assert_eq!(made(with("b", Some("md5-2")), with("a", Some("md5-3"))), None);
        assert_eq!(made(with("b", Some("md5-2")), with("a", None)), None);
    }
}
