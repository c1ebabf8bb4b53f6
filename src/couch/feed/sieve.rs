//! Drops rows from a feed of any length, keeping no more of it than a row's beginning.

use bytes::Bytes;
use memchr::memchr;
use serde::Deserialize;
use serde_json::value::RawValue;

use self::passed::Passed;
use crate::couch::nesting::Nesting;

mod passed;
mod steps;

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
    Row { object: Nesting, passes: bool },
    /// In a row that is held whole.
    Odd(Nesting),
    /// Behind a row, in what belongs to it.
    Trail { passes: bool, is_line_empty: bool },
    /// Behind the last row.
    Closing,
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
                    let end = object.end(&piece[at..]).map(|end| at + end);
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
}

#[cfg(test)]
mod tests;
