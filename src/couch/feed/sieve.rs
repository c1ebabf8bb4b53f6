//! Drops rows from a feed of any length, keeping no more of it than a row's beginning.

use std::{borrow::Cow, ops::Range};

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::row::{Head, Object, head, unescape, usual_rest};

/// The most that is held of what is not as CouchDB writes it: such a row has to be read whole.
const HELD: usize = 16 << 20;

/// How the rows of a feed are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `{"results":[` rows `],"last_seq":…}`: normal and longpoll.
    Array,
    /// A row a line, and a last one with `last_seq`: continuous.
    Lines,
    /// `data: ` a row, up to a blank line: eventsource.
    Events,
}

/// The feed is none that can be understood; whoever reads it must not be led to believe that it ended well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the feed of changes cannot be understood: {0}")]
pub struct Malformed(&'static str);

/// How a feed ends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Tail {
    /// The end's position, as JSON.
    #[serde(deserialize_with = "as_written")]
    pub last_seq: String,
    /// How many changes come after it; none where CouchDB does not say.
    #[serde(default)]
    pub pending: Option<i64>,
}

/// Lets pass the rows of some documents, up to a limit, and everything that is no row.
///
/// Feeds may follow each other as the pages of one: [`Sieve::turn`].
#[derive(Debug)]
pub struct Sieve {
    framing: Framing,
    state: State,
    /// The most rows let pass, over all pages.
    limit: u64,
    kept: u64,
    /// The rows of this page, and those of them that came after the limit was reached.
    seen: u64,
    beyond: u64,
    /// Where the last row stands that the limit lets pass, as JSON.
    last_seq: Option<String>,
    /// What goes with the next row if it passes: what separates it from the one before, or `data: `.
    lead: Vec<u8>,
    /// A row's beginning, or the feed's end.
    held: Vec<u8>,
    is_first_page: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before the array.
    Opening,
    /// At the begin of a row, or of what stands between rows.
    Between,
    /// In what is no row, up to the end of its line.
    Text,
    /// In the head of a row, which is held.
    Head,
    /// Behind the head of a row.
    Row { object: Object, passes: bool },
    /// In a row that is held whole.
    Odd(Object),
    /// Behind a row, in what belongs to it.
    Trail { passes: bool, is_line_empty: bool },
    /// Behind the last row.
    Closing,
}

/// What passes of a piece, as few and long runs as there are.
struct Passed<'a> {
    piece: &'a Bytes,
    run: Range<usize>,
    copied: BytesMut,
}

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

fn as_written<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(|raw| raw.get().to_owned())
}

impl Sieve {
    /// Lets pass no more rows than `limit`.
    pub fn new(framing: Framing, limit: Option<u64>) -> Self {
        let state = match framing {
            Framing::Array => State::Opening,
            Framing::Lines | Framing::Events => State::Between,
        };
        Self {
            framing,
            state,
            limit: limit.unwrap_or(u64::MAX),
            kept: 0,
            seen: 0,
            beyond: 0,
            last_seq: None,
            lead: Vec::new(),
            held: Vec::new(),
            is_first_page: true,
        }
    }

    /// The rows that have passed, over all pages.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// The rows that have come, in this page.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The rows that have come after the limit was reached, in this page.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    /// No more rows will pass; where the last one stands, as JSON. It may be `null` (`seq_interval`).
    pub fn last_seq(&self) -> Option<&str> {
        // The last row may still be on its way.
        let is_whole = matches!(
            self.state,
            State::Between
                | State::Text
                | State::Head
                | State::Odd(_)
                | State::Closing
                | State::Row { passes: false, .. }
                | State::Trail { passes: false, .. }
        );
        self.last_seq.as_deref().filter(|_| is_whole)
    }

    /// Another page of the same feed follows. Nothing of this one's end has passed yet.
    pub fn turn(&mut self) {
        self.state = State::Opening;
        self.is_first_page = false;
        self.seen = 0;
        self.beyond = 0;
        self.lead.clear();
        self.held.clear();
    }

    /// What passes of the next piece: rows of documents whose id `admits`. An array's end is held, see [`Sieve::end`].
    ///
    /// Fails if the feed cannot be understood. What has passed until then is right.
    pub fn sift(&mut self, piece: &Bytes, admits: impl Fn(&str) -> bool) -> Result<Bytes, Malformed> {
        let mut passed = Passed::of(piece);
        let mut at = 0;
        while at < piece.len() {
            at = match self.state {
                State::Opening => self.opening(piece, at, &mut passed)?,
                State::Between => self.between(piece, at, &mut passed, &admits)?,
                State::Text => {
                    let end = memchr(b'\n', &piece[at..]).map(|end| at + end + 1);
                    if end.is_some() {
                        self.state = State::Between;
                    }
                    let end = end.unwrap_or(piece.len());
                    passed.keep(at..end);
                    end
                }
                State::Head => self.head(piece, at, &mut passed, &admits)?,
                State::Row { mut object, passes } => {
                    let end = object.read(&piece[at..]).map(|end| at + end);
                    self.state = State::Row { object, passes };
                    if end.is_some() {
                        self.behind_row(passes);
                    }
                    let end = end.unwrap_or(piece.len());
                    if passes {
                        passed.keep(at..end);
                    }
                    end
                }
                State::Odd(object) => self.odd(object, piece, at, &mut passed, &admits)?,
                State::Trail { passes, is_line_empty } => self.trail(passes, is_line_empty, piece, at, &mut passed)?,
                State::Closing => {
                    self.hold(&piece[at..])?;
                    piece.len()
                }
            };
        }
        Ok(passed.whole())
    }

    /// The feed has ended: with what, and what the text of it is, which has not passed yet. None for a feed without an end of its own.
    ///
    /// Fails if it has ended in the middle.
    pub fn end(&mut self) -> Result<Option<(Tail, Bytes)>, Malformed> {
        match (self.framing, self.state) {
            (_, State::Closing) => {}
            (Framing::Lines, State::Between | State::Trail { .. }) => return Ok(None),
            (Framing::Events, State::Between | State::Trail { .. } | State::Text) => return Ok(None),
            _ => return Err(Malformed("it ends in the middle")),
        }
        let text = std::mem::take(&mut self.held);
        let tail = match self.framing {
            Framing::Lines => serde_json::from_slice(&text),
            _ => {
                let behind = text
                    .trim_ascii_start()
                    .strip_prefix(b"]")
                    .unwrap_or_default()
                    .trim_ascii_start();
                serde_json::from_slice(&[b"{", behind.strip_prefix(b",").unwrap_or_default()].concat())
            }
        };
        let tail = tail.map_err(|_| Malformed("it ends without a `last_seq`"))?;
        Ok(Some((tail, text.into())))
    }

    fn opening(&mut self, piece: &[u8], at: usize, passed: &mut Passed<'_>) -> Result<usize, Malformed> {
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

    fn between(
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
                            object: Object::begun(),
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
                self.state = State::Odd(Object::default());
                self.held.clear();
                Ok(at)
            }
        }
    }

    fn head(
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
                    object: Object::begun(),
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
                let mut object = Object::default();
                self.held = held[..before].to_vec();
                if object.read(&self.held).is_some() {
                    return Err(Malformed("a row is too short to be one"));
                }
                self.state = State::Odd(object);
                Ok(at)
            }
        }
    }

    /// In a row that does not begin as CouchDB's do: its id may stand anywhere, so it is read whole.
    fn odd(
        &mut self,
        mut object: Object,
        piece: &[u8],
        at: usize,
        passed: &mut Passed<'_>,
        admits: &impl Fn(&str) -> bool,
    ) -> Result<usize, Malformed> {
        let end = object.read(&piece[at..]).map(|end| at + end);
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

    fn trail(
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

    fn behind_row(&mut self, passes: bool) {
        self.state = match self.framing {
            Framing::Array => State::Between,
            Framing::Lines | Framing::Events => State::Trail {
                passes,
                is_line_empty: false,
            },
        };
    }

    fn hold(&mut self, text: &[u8]) -> Result<(), Malformed> {
        if self.held.len() + text.len() > HELD {
            return Err(Malformed("a row that does not begin with its id is too long"));
        }
        self.held.extend_from_slice(text);
        Ok(())
    }
}

impl<'a> Passed<'a> {
    fn of(piece: &'a Bytes) -> Self {
        Self {
            piece,
            run: 0..0,
            copied: BytesMut::new(),
        }
    }

    /// This part of the piece.
    fn keep(&mut self, part: Range<usize>) {
        if self.run.end == part.start {
            self.run.end = part.end;
        } else {
            self.copied.extend_from_slice(&self.piece[self.run.clone()]);
            self.run = part;
        }
    }

    /// This text, which may well be what comes next in the piece.
    fn add(&mut self, text: &[u8]) {
        if self.piece[self.run.end..].starts_with(text) {
            self.run.end += text.len();
        } else {
            self.copied.extend_from_slice(&self.piece[self.run.clone()]);
            self.copied.extend_from_slice(text);
            self.run = self.run.end..self.run.end;
        }
    }

    /// A piece of which everything passes is not copied.
    fn whole(mut self) -> Bytes {
        if self.copied.is_empty() {
            return self.piece.slice(self.run);
        }
        self.copied.extend_from_slice(&self.piece[self.run]);
        self.copied.freeze()
    }
}

#[cfg(test)]
mod tests;
