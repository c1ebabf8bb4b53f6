//! Two documents beside each other, a line for each field: what tests and laws show when they fail.

use std::fmt;

use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::{Fields, document::same_value};

/// Lines that begin with `-` are of the first document alone, those with `+` of the second, all others of both. Objects
/// and arrays that differ are told member by member.
#[derive(Clone, Copy, Debug)]
pub struct Diff<'a>(pub Option<&'a Fields>, pub Option<&'a Fields>);

/// A value that both sides have is cut after this many characters.
const WIDTH: usize = 100;

/// Members by their names, or elements by their places.
type Members = IndexMap<String, Box<RawValue>>;

impl Diff<'_> {
    /// Whether both are the same ([`Fields::same_as`]), or neither is there.
    pub fn is_empty(&self) -> bool {
        match (self.0, self.1) {
            (Some(was), Some(is)) => was.same_as(is),
            (was, is) => was.is_none() && is.is_none(),
        }
    }
}

impl fmt::Display for Diff<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        match (self.0, self.1) {
            (Some(was), Some(is)) => {
                let of = |fields: &Fields| {
                    fields
                        .iter()
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .collect()
                };
                members(&mut lines, 0, of(was), of(is));
            }
            (was, is) => {
                let text = |fields: &Fields| serde_json::to_string(fields).unwrap_or_default();
                lines.push(format!("- {}", was.map_or_else(|| "no document".to_owned(), text)));
                lines.push(format!("+ {}", is.map_or_else(|| "no document".to_owned(), text)));
            }
        }
        f.write_str(&lines.join("\n"))
    }
}

fn members(lines: &mut Vec<String>, depth: usize, was: Members, mut is: Members) {
    for (name, was) in was {
        let is = is.shift_remove(&name);
        member(lines, depth, &name, Some(&was), is.as_deref());
    }
    for (name, is) in is {
        member(lines, depth, &name, None, Some(&is));
    }
}

fn member(lines: &mut Vec<String>, depth: usize, name: &str, was: Option<&RawValue>, is: Option<&RawValue>) {
    let indent = "  ".repeat(depth);
    let mut line = |mark: char, text: &str| lines.push(format!("{mark} {indent}{name}: {text}"));
    if let (Some(was), Some(is)) = (was, is) {
        if same_value(was, is) {
            return line(' ', &cut(is.get()));
        }
        if let Some((was, is, [open, close])) = nested(was, is) {
            line(' ', open);
            members(lines, depth + 1, was, is);
            return lines.push(format!("  {indent}{close}"));
        }
    }
    was.into_iter().for_each(|was| line('-', was.get()));
    is.into_iter().for_each(|is| line('+', is.get()));
}

/// Two objects, or two arrays, taken apart.
fn nested(was: &RawValue, is: &RawValue) -> Option<(Members, Members, [&'static str; 2])> {
    let object = |value: &RawValue| serde_json::from_str::<Members>(value.get()).ok();
    let array = |value: &RawValue| {
        let items: Vec<Box<RawValue>> = serde_json::from_str(value.get()).ok()?;
        Some(
            items
                .into_iter()
                .enumerate()
                .map(|(n, item)| (n.to_string(), item))
                .collect::<Members>(),
        )
    };
    let objects = || Some((object(was)?, object(is)?, ["{", "}"]));
    let arrays = || Some((array(was)?, array(is)?, ["[", "]"]));
    objects().or_else(arrays)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(WIDTH) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_field_wherever_it_is_nested() {
        let fields = |json: &str| serde_json::from_str::<Fields>(json).unwrap();
        let was = fields(r#"{"title":"a","price":1.0,"to":{"street":"x","city":"y"},"tags":["a","b"],"old":null}"#);
        let is = fields(r#"{"title":"b","price":1,"to":{"city":"z","street":"x"},"tags":["a"],"new":[1, 2]}"#);
        let expected = r#"- title: "a"
+ title: "b"
- price: 1.0
+ price: 1
  to: {
    street: "x"
-   city: "y"
+   city: "z"
  }
  tags: [
    0: "a"
-   1: "b"
  ]
- old: null
+ new: [1, 2]"#;
        assert_eq!(Diff(Some(&was), Some(&is)).to_string(), expected);
        assert!(!Diff(Some(&was), Some(&is)).is_empty() && !Diff(Some(&was), None).is_empty());
        assert!(Diff(Some(&was), Some(&was)).is_empty() && Diff(None, None).is_empty());
        assert_eq!(Diff(Some(&fields("{}")), None).to_string(), "- {}\n+ no document");
    }
}
