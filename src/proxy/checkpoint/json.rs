//! Values at known places of a JSON text, replaced; every other byte stays as it was.

use std::ops::Range;

use serde_json::value::RawValue;

use super::super::encoding::Members;

/// A step to such a place.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Into a member of an object; of a doubled one the last counts, as in CouchDB.
    Member(&'static str),
    /// Into each element of an array.
    Each,
}

/// Replaces the strings at the end of this way for which there is another; none if there is nothing to be replaced.
pub fn replace(text: &[u8], way: &[Step], other: impl Fn(&str) -> Option<String>) -> Option<Vec<u8>> {
    edit(text, way, |value| {
        let string: String = serde_json::from_str(value.get()).ok()?;
        serde_json::to_string(&other(&string)?).ok()
    })
}

/// The same for values of any kind, as text.
pub fn edit(text: &[u8], way: &[Step], other: impl Fn(&RawValue) -> Option<String>) -> Option<Vec<u8>> {
    let whole: &RawValue = serde_json::from_slice(text).ok()?;
    let mut found = Vec::new();
    walk(whole, way, &mut found);
    let mut edited = Vec::with_capacity(text.len() + 32 * found.len());
    let mut done = 0;
    for value in found {
        if let Some(other) = other(value) {
            let Range { start, end } = place(value, text);
            edited.extend_from_slice(&text[done..start]);
            edited.extend_from_slice(other.as_bytes());
            done = end;
        }
    }
    if done == 0 {
        return None;
    }
    edited.extend_from_slice(&text[done..]);
    Some(edited)
}

/// What does not look as expected is left alone: it is for CouchDB, or for the client, to judge.
fn walk<'a>(value: &'a RawValue, way: &[Step], found: &mut Vec<&'a RawValue>) {
    match way {
        [] => found.push(value),
        [Step::Member(name), rest @ ..] => {
            let members: Members<'a> = serde_json::from_str(value.get()).unwrap_or_default();
            if let Some(member) = members.get(*name) {
                walk(member, rest, found);
            }
        }
        [Step::Each, rest @ ..] => {
            let elements: Vec<&'a RawValue> = serde_json::from_str(value.get()).unwrap_or_default();
            for element in elements {
                walk(element, rest, found);
            }
        }
    }
}

/// Where a value borrowed from the text stands in it.
fn place(value: &RawValue, text: &[u8]) -> Range<usize> {
    let start = value.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + value.get().len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{Step::*, *};

    const DOCS: [Step; 3] = [Member("docs"), Each, Member("_id")];

    fn louder(text: &str, way: &[Step]) -> Option<String> {
        let louder = |string: &str| Some(format!("{string}!")).filter(|_| string.starts_with('a'));
        replace(text.as_bytes(), way, louder).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn all_other_bytes_stay() {
        let text = " {\"x\": 1e2, \"\\u005fid\" : \"\\u0061\\/b\",\"y\":{\"_id\":\"a\"} , \"_rev\":1.0}\n";
        let expected = text.replace("\"\\u0061\\/b\"", "\"a/b!\"");
        assert_eq!(louder(text, &[Member("_id")]), Some(expected));
    }

    #[test]
    fn of_doubled_members_the_last_counts() {
        assert_eq!(
            louder(r#"{"_id":"a1","_id":"a2"}"#, &[Member("_id")]).unwrap(),
            r#"{"_id":"a1","_id":"a2!"}"#
        );
    }

    #[test]
    fn each_element_has_its_own() {
        assert_eq!(
            louder(
                r#"{"docs":[{"_id":"a"},{"_id":"b"},{},7,{"_id":5},[{"_id":"a"}], {"_id":"aa"}]}"#,
                &DOCS
            )
            .unwrap(),
            r#"{"docs":[{"_id":"a!"},{"_id":"b"},{},7,{"_id":5},[{"_id":"a"}], {"_id":"aa!"}]}"#
        );
    }

    #[test]
    fn what_has_none_is_left_alone() {
        for text in [
            "",
            "{",
            "{}x",
            "[]",
            "7",
            "{\"docs\":7}",
            "{\"docs\":[{\"_id\":\"b\"}]}",
            "\u{feff}{}",
        ] {
            assert_eq!(louder(text, &DOCS), None, "{text}");
        }
        assert_eq!(
            replace(b"{\"_id\":\"a\xff\"}", &[Member("_id")], |_| Some(String::new())),
            None
        );
        let deep = "[".repeat(1 << 20);
        assert_eq!(louder(&deep, &DOCS), None);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<i32>().prop_map(Value::from),
            "[ab_\"\\\\é\n]{0,4}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let members = prop::collection::btree_map("docs|_id|[ab\"]{1,2}", inner.clone(), 0..4);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::from),
                members.prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_same_as_changing_the_value(value in value(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let mut changed = value.clone();
            for doc in changed.get_mut("docs").and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(Value::String(id)) = doc.get_mut("_id").filter(|id| id.as_str().unwrap_or_default().starts_with('a')) {
                    id.push('!');
                }
            }
            let replaced = louder(&text, &DOCS);
            prop_assert_eq!(replaced.is_some(), changed != value);
            let replaced: Value = serde_json::from_str(&replaced.unwrap_or(text)).unwrap();
            prop_assert_eq!(replaced, changed);
        }
    }
}
