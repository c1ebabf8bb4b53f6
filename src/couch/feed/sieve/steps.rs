//! How a sieve gets from one place of a feed to the next.

use std::borrow::Cow;

use memchr::memchr;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    super::row::{Head, head, unescape, usual_rest},
    Framing, HELD, Malformed, Sieve, State,
    passed::Passed,
};
use crate::couch::nesting::Nesting;

/// What every row says, whatever it looks like.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    seq: Option<&'a RawValue>,
    #[serde(borrow)]
    last_seq: Option<&'a RawValue>,
}

/// Each step takes a piece and a place in it, and answers the place it gets to.
impl Sieve {
    pub(super) fn opening(&mut self, piece: &[u8], at: usize, passed: &mut Passed<'_>) -> Result<usize, Malformed> {
        let bracket = memchr(b'[', &piece[at..]).map(|bracket| at + bracket);
        let end = bracket.map_or(piece.len(), |bracket| bracket + 1);
        if self.held.len() + (end - at) > 1024 {
            return Err(Malformed("it does not begin with `results`"));
        }
        self.held.extend_from_slice(&piece[at..end]);
        let is_solid = |byte: &&u8| !byte.is_ascii_whitespace();
        if bracket.is_none() {
            return Ok(end);
        }
        if !self.held.iter().filter(is_solid).eq(b"{\"results\":[") {
            return Err(Malformed("it does not begin with `results`"));
        }
        let opening = std::mem::take(&mut self.held);
        self.state = State::Between;
        if self.is_first_page {
            passed.add(&opening[..opening.len() - (end - at)]);
            passed.keep(at..end);
            return Ok(end);
        }
        // The first page's line has ended already.
        Ok(end + usize::from(piece.get(end) == Some(&b'\n')))
    }

    pub(super) fn between(
        &mut self,
        piece: &[u8],
        at: usize,
        passed: &mut Passed<'_>,
        admits: &impl Fn(&str) -> bool,
    ) -> Result<usize, Malformed> {
        if self.framing == Framing::Events && piece[at] != b'{' {
            return self.between_events(piece, at, passed);
        }
        match piece[at] {
            b'{' => self.row(piece, at, passed, admits),
            b',' if self.framing == Framing::Array && self.lead.is_empty() && self.seen > 0 => {
                self.lead.push(b',');
                Ok(at + 1)
            }
            b']' if self.framing == Framing::Array && self.lead.is_empty() => {
                self.state = State::Closing;
                Ok(at)
            }
            byte if byte.is_ascii_whitespace() && !self.lead.is_empty() && self.lead.len() < 64 => {
                self.lead.push(byte);
                Ok(at + 1)
            }
            byte if byte.is_ascii_whitespace() => {
                let space = piece[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                match piece.get(at + space) {
                    Some(b']') if self.framing == Framing::Array => self.state = State::Closing,
                    // A heartbeat.
                    _ => {
                        passed.keep(at..at + space);
                        return Ok(at + space);
                    }
                }
                Ok(at)
            }
            _ => Err(Malformed("something other than a row stands where rows do")),
        }
    }

    /// An event with a row begins with `data: {`; what passes else has no braces there: heartbeats, comments.
    fn between_events(&mut self, piece: &[u8], at: usize, passed: &mut Passed<'_>) -> Result<usize, Malformed> {
        const DATA: &[u8] = b"data:";
        // What was held of a line that has not shown yet what it is.
        let byte = piece[at];
        let length = self.lead.len();
        let goes_on = match DATA.get(length) {
            Some(expected) => byte == *expected,
            None => byte == b' ' && length < 64,
        };
        if goes_on {
            self.lead.push(byte);
            return Ok(at + 1);
        }
        let is_data = length >= DATA.len();
        if is_data && !matches!(byte, b'\n' | b'\r') {
            return Err(Malformed("an event's data is no row"));
        }
        passed.add(&std::mem::take(&mut self.lead));
        self.state = State::Text;
        Ok(at)
    }

    /// At a brace between rows.
    fn row(
        &mut self,
        piece: &[u8],
        at: usize,
        passed: &mut Passed<'_>,
        admits: &impl Fn(&str) -> bool,
    ) -> Result<usize, Malformed> {
        if self.framing == Framing::Events && !self.lead.starts_with(b"data:") {
            return Err(Malformed("an event's data is no row"));
        }
        match head(&piece[at..]) {
            Head::Known { seq, id, length } => {
                let passes = self.judge(id, seq, admits)?;
                let rest = usual_rest(&piece[at + length..]);
                let end = at + length + rest.unwrap_or_default();
                self.pass_lead(passes, passed);
                if passes {
                    passed.keep(at..end);
                }
                match rest {
                    Some(_) => self.behind_row(passes),
                    None => {
                        self.state = State::Row {
                            object: Nesting::begun(),
                            passes,
                        }
                    }
                }
                Ok(end)
            }
            Head::Partial => {
                self.state = State::Head;
                self.held.clear();
                Ok(at)
            }
            Head::Strange => {
                self.state = State::Odd(Nesting::default());
                self.held.clear();
                Ok(at)
            }
        }
    }

    pub(super) fn head(
        &mut self,
        piece: &[u8],
        at: usize,
        passed: &mut Passed<'_>,
        admits: &impl Fn(&str) -> bool,
    ) -> Result<usize, Malformed> {
        // In steps: mostly a few bytes are missing, and a piece may be large.
        let before = self.held.len();
        let end = piece.len().min(at + before.max(512));
        self.hold(&piece[at..end])?;
        let held = std::mem::take(&mut self.held);
        match head(&held) {
            Head::Known { seq, id, length } => {
                let passes = self.judge(id, seq, admits)?;
                self.pass_lead(passes, passed);
                if passes {
                    passed.add(&held[..length]);
                }
                self.state = State::Row {
                    object: Nesting::begun(),
                    passes,
                };
                Ok(at + length - before)
            }
            Head::Partial => {
                self.held = held;
                Ok(end)
            }
            Head::Strange => {
                // It may end within what was held: the rest of the step is read again.
                let mut object = Nesting::default();
                self.held = held[..before].to_vec();
                if object.end(&self.held).is_some() {
                    return Err(Malformed("a row is too short to be one"));
                }
                self.state = State::Odd(object);
                Ok(at)
            }
        }
    }

    /// In a row that does not begin as CouchDB's do: its id may stand anywhere, so it is read whole.
    pub(super) fn odd(
        &mut self,
        mut object: Nesting,
        piece: &[u8],
        at: usize,
        passed: &mut Passed<'_>,
        admits: &impl Fn(&str) -> bool,
    ) -> Result<usize, Malformed> {
        let end = object.end(&piece[at..]).map(|end| at + end);
        self.hold(&piece[at..end.unwrap_or(piece.len())])?;
        let Some(end) = end else {
            self.state = State::Odd(object);
            return Ok(piece.len());
        };
        let held = std::mem::take(&mut self.held);
        let row: Row<'_> = serde_json::from_slice(&held).map_err(|_| Malformed("a row is no JSON object"))?;
        match row {
            Row { id: Some(id), seq, .. } => {
                let passes = self.judge_plain(&id, seq.map_or("null", RawValue::get).as_bytes(), admits);
                self.pass_lead(passes, passed);
                if passes {
                    passed.add(&held);
                }
                self.behind_row(passes);
            }
            Row { last_seq: Some(_), .. } if self.framing == Framing::Lines => {
                self.held = held;
                self.state = State::Closing;
            }
            _ => return Err(Malformed("a row has no id")),
        }
        Ok(end)
    }

    pub(super) fn trail(
        &mut self,
        passes: bool,
        is_line_empty: bool,
        piece: &[u8],
        at: usize,
        passed: &mut Passed<'_>,
    ) -> Result<usize, Malformed> {
        let found = memchr(b'\n', &piece[at..]).map(|found| at + found);
        let end = found.map_or(piece.len(), |found| found + 1);
        let is_blank = piece[at..end].iter().all(u8::is_ascii_whitespace);
        if self.framing == Framing::Lines && !is_blank {
            return Err(Malformed("two rows stand in one line"));
        }
        if passes {
            passed.keep(at..end);
        }
        self.state = match found {
            Some(_) if self.framing == Framing::Lines || (is_line_empty && is_blank) => State::Between,
            Some(_) => State::Trail {
                passes,
                is_line_empty: true,
            },
            None => State::Trail {
                passes,
                is_line_empty: is_line_empty && is_blank,
            },
        };
        Ok(end)
    }

    fn judge(&mut self, id: &[u8], seq: &[u8], admits: &impl Fn(&str) -> bool) -> Result<bool, Malformed> {
        let id = unescape(id).ok_or(Malformed("an id is no text"))?;
        Ok(self.judge_plain(&id, seq, admits))
    }

    fn judge_plain(&mut self, id: &str, seq: &[u8], admits: &impl Fn(&str) -> bool) -> bool {
        self.seen += 1;
        if self.kept == self.limit {
            self.beyond += 1;
            return false;
        }
        let passes = admits(id);
        self.kept += u64::from(passes);
        if passes && self.kept == self.limit {
            self.last_seq = Some(String::from_utf8_lossy(seq).into_owned());
        }
        passes
    }

    /// In an array only a row that follows another one is separated from it.
    fn pass_lead(&mut self, passes: bool, passed: &mut Passed<'_>) {
        let is_first = self.framing == Framing::Array && self.kept == 1;
        if passes && !is_first {
            match self.framing {
                Framing::Array if self.lead.is_empty() => passed.add(b",\r\n"),
                _ => passed.add(&self.lead),
            }
        }
        self.lead.clear();
    }

    pub(super) fn behind_row(&mut self, passes: bool) {
        self.state = match self.framing {
            Framing::Array => State::Between,
            Framing::Lines | Framing::Events => State::Trail {
                passes,
                is_line_empty: false,
            },
        };
    }

    pub(super) fn hold(&mut self, text: &[u8]) -> Result<(), Malformed> {
        if self.held.len() + text.len() > HELD {
            return Err(Malformed("a row that does not begin with its id is too long"));
        }
        self.held.extend_from_slice(text);
        Ok(())
    }
}
