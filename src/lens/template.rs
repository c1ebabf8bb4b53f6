//! What a field is where the target has none yet: a constant, or a text made of the document's fields and key.

use serde_json::value::RawValue;

use super::{nested, operation::Crossing, shape::Presence};
use crate::couch::Fields;

/// Determined by the document and its key alone: every proxy makes the same.
#[derive(Clone, Debug)]
pub enum Default {
    /// Always the same.
    Constant(Box<RawValue>),
    /// A text with gaps.
    Template(Template),
}

/// A text with gaps, like `{first} {last}`.
#[derive(Clone, Debug)]
pub struct Template(Vec<Piece>);

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    /// `{$key}`
    Key,
    /// `{name}`
    Field(String),
}

impl Default {
    /// The value for a document that holds `here`.
    pub fn value(&self, at: Crossing, here: &Fields) -> Box<RawValue> {
        match self {
            Default::Constant(value) => value.clone(),
            Default::Template(template) => nested::string_of(&template.fill(at, here)),
        }
    }

    /// What is known of the value.
    pub fn presence(&self) -> Presence {
        match self {
            Default::Constant(value) => Presence::of_text(value),
            Default::Template(_) => Presence::always(),
        }
    }

    /// The fields that the value is made of.
    pub fn reads(&self) -> Vec<&str> {
        let Default::Template(Template(pieces)) = self else {
            return Vec::new();
        };
        let names = pieces.iter().filter_map(|piece| match piece {
            Piece::Field(name) => Some(name.as_str()),
            Piece::Text(_) | Piece::Key => None,
        });
        names.collect()
    }
}

impl Template {
    /// Reads a template, or tells what is wrong with it. A doubled brace is a brace.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let (name, after) = match after.split_once('}') {
                Some(split) if brace == "{" => split,
                _ => return Err("a brace has no partner"),
            };
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(match name {
                "$key" => Piece::Key,
                "" => return Err("a pair of braces names no field"),
                _ => Piece::Field(name.to_owned()),
            });
            rest = after;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        Ok(Self(pieces))
    }

    /// A field that is missing or `null` leaves its gap empty; one that is no string stands there as JSON.
    fn fill(&self, at: Crossing, here: &Fields) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Key => text.push_str(at.key),
                Piece::Field(name) => {
                    let value = here.get(name).filter(|value| value.get() != "null");
                    let shown = value.map(|value| nested::string(value).unwrap_or_else(|| value.get().to_owned()));
                    text.push_str(&shown.unwrap_or_default());
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Direction::Up;

    #[test]
    fn fills_gaps_with_fields_and_key() {
        let here: Fields = serde_json::from_str(r#"{"a":"x","n":1.0,"o":{"b":[1]},"z":null}"#).unwrap();
        let at = Crossing {
            to: Up,
            key: "k",
            is_lawful: false,
        };
        for (template, filled) in [
            ("{a}-{$key}", "x-k"),
            ("{n}{o}", r#"1.0{"b":[1]}"#),
            ("[{z}{none}]", "[]"),
            ("{{a}} }}", "{a} }"),
            ("", ""),
        ] {
            assert_eq!(Template::new(template).unwrap().fill(at, &here), filled);
        }
    }

    #[test]
    fn a_lone_brace_is_a_flaw() {
        for template in ["{", "}", "{a", "a}", "{}"] {
            assert!(Template::new(template).is_err(), "{template}");
        }
    }
}
