//! From the text of a JSON or YAML file to a value, or to every flaw of its form at once.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::problem::escaped;
use crate::schema::Flaw;

/// Where something stands in a file: member names and places in lists.
type Pointer = Vec<String>;

/// What was understood of a text.
pub(super) struct Read<T> {
    /// Without what does not fit; none if too little is left.
    pub(super) value: Option<T>,
    /// All of it; null if it does not parse.
    pub(super) written: Value,
    /// All that does not fit.
    pub(super) flaws: Vec<Flaw>,
}

impl<T> Default for Read<T> {
    fn default() -> Self {
        Self {
            value: None,
            written: Value::Null,
            flaws: Vec::new(),
        }
    }
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

impl Form {
    /// Reads a text.
    pub(super) fn read<T: DeserializeOwned>(self, text: &str) -> Read<T> {
        let value = match self {
            Form::Json => serde_json::from_str(text).map_err(|error| {
                let at = format!("line {}, column {}", error.line(), error.column());
                let what = error.to_string();
                let what = what.split(" at line ").next().unwrap_or_default();
                Flaw::new(at, format!("is no JSON: {what}"), "mend the syntax")
            }),
            Form::Yaml => serde_saphyr::from_str(text).map_err(|error| {
                let error = error.without_snippet();
                let at = error
                    .location()
                    .map_or_else(String::new, |at| format!("line {}, column {}", at.line(), at.column()));
                let what = error.to_string();
                let what = what.split(" at line ").next().unwrap_or_default();
                Flaw::new(at, format!("is no YAML: {what}"), "mend the syntax")
            }),
        };
        match value {
            Ok(value) => fit(value),
            Err(flaw) => Read {
                flaws: vec![flaw],
                ..Read::default()
            },
        }
    }
}

/// Fits a value into a type. What does not fit is noted, taken out, and the rest tried again.
fn fit<T: DeserializeOwned>(mut value: Value) -> Read<T> {
    if value.is_null() {
        value = Value::Object(serde_json::Map::new());
    }
    let written = value.clone();
    let mut flaws = Vec::new();
    let mut taken: Vec<Pointer> = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(value.clone()) {
            Ok(value) => {
                let value = Some(value);
                return Read { value, written, flaws };
            }
            Err(error) => error,
        };
        let mut at = pointer(error.path());
        let what = error.inner().to_string();
        let here = original(&at, &taken);
        // What was taken out may be missed now: that was told already.
        let is_told = match quoted(&what, "missing field `") {
            Some(field) => taken.iter().any(|taken| is_member(taken, &here, Some(field))),
            None => taken.iter().any(|taken| is_member(taken, &here, None)),
        };
        if !is_told {
            flaws.push(Flaw::new(text(&here), &what, mend(&what)));
        }
        while !remove(&mut value, &at) {
            if at.pop().is_none() {
                return Read {
                    value: None,
                    written,
                    flaws,
                };
            }
        }
        taken.push(original(&at, &taken));
    }
}

fn mend(what: &str) -> &'static str {
    let expected = |what: &str, kind: &str| what.split(", expected ").nth(1) == Some(kind);
    if what.starts_with("unknown ") {
        "mend the name, or take it out"
    } else if what.starts_with("missing ") {
        "add it"
    } else if expected(what, "a sequence") {
        "write a list, as in `[one, two]`"
    } else if expected(what, "a boolean") {
        "write `true` or `false`"
    } else if expected(what, "a string") {
        "write a text, in quotes if it looks like something else; a time or a size has a unit, as in `10s` and `64MB`"
    } else {
        "write what is expected"
    }
}

/// Whether `taken` stands directly within `parent`, under this name.
fn is_member(taken: &[String], parent: &[String], name: Option<&str>) -> bool {
    let Some((last, parents)) = taken.split_last() else {
        return false;
    };
    parents == parent && name.is_none_or(|name| name == last)
}

fn quoted<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.split('`').next()
}

fn pointer(path: &serde_path_to_error::Path) -> Pointer {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { variant } => Some(variant.clone()),
            Segment::Unknown => None,
        })
        .collect()
}

fn text(pointer: &[String]) -> String {
    let parts = pointer.iter().map(|part| format!("/{}", escaped(part)));
    parts.collect()
}

/// Takes out what stands there; false if nothing does.
fn remove(value: &mut Value, at: &[String]) -> bool {
    let Some((last, parents)) = at.split_last() else {
        return false;
    };
    match value.pointer_mut(&text(parents)) {
        Some(Value::Object(members)) => members.shift_remove(last).is_some(),
        Some(Value::Array(items)) => match last.parse::<usize>() {
            Ok(n) if n < items.len() => {
                items.remove(n);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

/// The place in the file of what now stands at `at`: items taken out of a list have moved those behind them.
fn original(at: &[String], taken: &[Pointer]) -> Pointer {
    let mut original = Pointer::new();
    for part in at {
        let mut gone: Vec<usize> = taken
            .iter()
            .filter_map(|taken| match taken.split_last() {
                Some((last, parents)) if parents == original => last.parse().ok(),
                _ => None,
            })
            .collect();
        gone.sort_unstable();
        let moved = part.parse::<usize>().map(|mut n| {
            for gone in gone {
                n += usize::from(gone <= n);
            }
            n.to_string()
        });
        original.push(moved.unwrap_or_else(|_| part.clone()));
    }
    original
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lens::LensFile;

    fn flaws(text: &str) -> Vec<String> {
        let flaws = Form::Yaml.read::<LensFile>(text).flaws;
        flaws
            .into_iter()
            .map(|flaw| format!("{}: {}", flaw.at, flaw.what))
            .collect()
    }

    #[test]
    fn tells_every_flaw_of_form_in_its_place() {
        let text = "
old: todo-item@1
new: todo-item@2
setps: []
steps:
  - rename: { from: a, too: b }
  - drop: { field: a }
  - add: { field: 1, value: x }
  - rename: { from: a }
  - move: { field: a, from: 3, to: c }
";
        let expected = [
            "/setps: unknown field `setps`, expected one of `old`, `new`, `parts`, `steps`, `script`, `share`, `examples`",
            "/steps/0/rename/too: unknown field `too`, expected one of `in`, `from`, `to`",
            "/steps/0/rename: missing field `to`",
            "/steps/1: unknown variant `drop`, expected one of `rename`, `add`, `remove`, `convert`, `move`, `constant`, `hoist`, `plunge`, `wrap`, `head`, `within`, `map`, `copy`, `split`, `join`, `when`",
            "/steps/2/add/field: invalid type: integer `1`, expected a string",
            "/steps/3/rename: missing field `to`",
            "/steps/4/move/from: invalid type: integer `3`, expected a string",
            "/steps/4/move/to: `c` names no class: expected a schema, an at sign and a major version, as in `todo-item@2`",
        ];
        assert_eq!(flaws(text), expected);
    }

    #[test]
    fn tells_the_line_of_what_does_not_parse() {
        let yaml = flaws("old: [a\nnew: b");
        assert_eq!(
            yaml,
            ["line 2, column 4: is no YAML: illegal placement of ':' indicator"]
        );
        let flaw = Form::Json.read::<Value>("{\n  \"a\": 1,\n}").flaws.remove(0);
        assert_eq!(
            (flaw.at.as_str(), flaw.what.as_str()),
            ("line 3, column 1", "is no JSON: trailing comma")
        );
    }
}
