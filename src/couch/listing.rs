//! Listings as they stream by: `{"total_rows":…,"offset":…,"rows":[…]}`, taken apart row by row without holding any of them.

use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value};

use super::nesting::Nesting;

/// The longest head of a listing, and the longest way to the end of a row's id. Ids are in request lines, and `update_seq`
/// takes some fifty bytes a shard.
const LIMIT: usize = 64 << 10;

/// Reads one listing, alone or as the only one of `{"results":[…]}`.
///
/// What is between the pieces is layout, and is not given out.
#[derive(Debug, Default)]
pub struct Reader {
    /// What has come and is not yet given out.
    unread: Bytes,
    place: Place,
}

/// The next part of a listing.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// What stands before the rows.
    Head(Map<String, Value>),
    /// A row begins. Its id, if it is of a document: CouchDB writes it first (`couch_mrview_http:row_to_json`), and reduced
    /// rows and those of missing keys have none.
    Row(Option<String>),
    /// A part of that row's text.
    Text(Bytes),
    /// There is no further row.
    End,
}

/// The text is no listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text is no listing of rows")]
pub struct NoListing;

#[derive(Debug, Default)]
enum Place {
    #[default]
    Head,
    Between,
    Within(Nesting),
    Behind,
}

impl Reader {
    /// Takes in what has come.
    pub fn feed(&mut self, text: Bytes) {
        if self.unread.is_empty() {
            self.unread = text;
        } else {
            let mut both = BytesMut::with_capacity(self.unread.len() + text.len());
            both.extend_from_slice(&self.unread);
            both.extend_from_slice(&text);
            self.unread = both.freeze();
        }
    }

    /// The next piece; none until more has come.
    pub fn piece(&mut self) -> Result<Option<Piece>, NoListing> {
        match &mut self.place {
            Place::Head => {
                let Some((at, end)) = rows_begin(&self.unread) else {
                    return self.wait();
                };
                let mut head = self.unread[at..end].to_vec();
                head.extend_from_slice(b"]}");
                let mut head: Map<String, Value> = serde_json::from_slice(&head).map_err(|_| NoListing)?;
                head.shift_remove("rows");
                let _ = self.unread.split_to(end);
                self.place = Place::Between;
                Ok(Some(Piece::Head(head)))
            }
            Place::Between => {
                let is_layout = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
                let layout = self.unread.iter().take_while(|byte| is_layout(byte)).count();
                let _ = self.unread.split_to(layout);
                match self.unread.first() {
                    None => Ok(None),
                    Some(b']') => {
                        self.place = Place::Behind;
                        Ok(Some(Piece::End))
                    }
                    Some(b'{') => match first_id(&self.unread) {
                        Opening::Undecided => self.wait(),
                        Opening::Id(id) => {
                            let id = serde_json::from_slice(id).map_err(|_| NoListing)?;
                            self.place = Place::Within(Nesting::default());
                            Ok(Some(Piece::Row(Some(id))))
                        }
                        Opening::Other => {
                            self.place = Place::Within(Nesting::default());
                            Ok(Some(Piece::Row(None)))
                        }
                    },
                    Some(_) => Err(NoListing),
                }
            }
            Place::Within(nesting) => {
                if self.unread.is_empty() {
                    return Ok(None);
                }
                let length = match nesting.end(&self.unread) {
                    Some(end) => {
                        self.place = Place::Between;
                        end
                    }
                    None => self.unread.len(),
                };
                Ok(Some(Piece::Text(self.unread.split_to(length))))
            }
            Place::Behind => Ok(None),
        }
    }

    fn wait(&self) -> Result<Option<Piece>, NoListing> {
        if self.unread.len() > LIMIT {
            Err(NoListing)
        } else {
            Ok(None)
        }
    }
}

/// From where the object with the rows opens to where they begin.
fn rows_begin(text: &[u8]) -> Option<(usize, usize)> {
    let mut nesting = Nesting::default();
    let mut opened = 0;
    for (at, &byte) in text.iter().enumerate() {
        let is_structural = !nesting.in_string();
        nesting.pass(byte);
        match byte {
            b'{' if is_structural => opened = at,
            b'[' if is_structural && is_key(&text[..at], b"\"rows\"") => return Some((opened, at + 1)),
            _ => {}
        }
    }
    None
}

/// Whether this key and a colon stand last.
fn is_key(text: &[u8], key: &[u8]) -> bool {
    let before = text.trim_ascii_end().strip_suffix(b":").map(<[u8]>::trim_ascii_end);
    let before = before.and_then(|text| text.strip_suffix(key));
    before.is_some_and(|before| before.last() != Some(&b'\\'))
}

enum Opening<'a> {
    Undecided,
    /// With its quotes.
    Id(&'a [u8]),
    Other,
}

/// The value of an object's first member, if that is the `id`.
fn first_id(object: &[u8]) -> Opening<'_> {
    let string = |text: &[u8]| {
        let mut nesting = Nesting::default();
        nesting.end(text)
    };
    let rest = object[1..].trim_ascii_start();
    match rest.first() {
        None => return Opening::Undecided,
        Some(b'"') => {}
        Some(_) => return Opening::Other,
    }
    let Some(end) = string(rest) else {
        return Opening::Undecided;
    };
    if &rest[..end] != b"\"id\"" {
        return Opening::Other;
    }
    let rest = rest[end..].trim_ascii_start();
    let Some(rest) = rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start) else {
        return if rest.is_empty() {
            Opening::Undecided
        } else {
            Opening::Other
        };
    };
    match rest.first() {
        None => Opening::Undecided,
        Some(b'"') => string(rest).map_or(Opening::Undecided, |end| Opening::Id(&rest[..end])),
        Some(_) => Opening::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    type Read = (Map<String, Value>, Vec<(Option<String>, Value)>);

    /// The head and the rows, however the text is cut. None if the listing does not end.
    fn read(text: &str, cuts: &[usize]) -> Result<Option<Read>, NoListing> {
        let mut reader = Reader::default();
        let (mut head, mut rows) = (Map::new(), Vec::<(Option<String>, Vec<u8>)>::new());
        let mut ended = false;
        let mut rest = Bytes::copy_from_slice(text.as_bytes());
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(cuts.next().map_or(usize::MAX, |cut| cut + 1)));
            reader.feed(piece);
            while let Some(piece) = reader.piece()? {
                match piece {
                    Piece::Head(read) => head = read,
                    Piece::Row(id) => rows.push((id, Vec::new())),
                    Piece::Text(text) => rows.last_mut().unwrap().1.extend_from_slice(&text),
                    Piece::End => ended = true,
                }
            }
        }
        let rows = rows
            .into_iter()
            .map(|(id, text)| (id, serde_json::from_slice(&text).unwrap()));
        Ok(ended.then(|| (head, rows.collect())))
    }

    fn id() -> impl Strategy<Value = String> {
        proptest::collection::vec(
            proptest::sample::select(vec!["a", "\"", "\\", "{", "}", "[", "]", ",", ":", "\n", "ä", "rows"]),
            0..5,
        )
        .prop_map(|parts| parts.concat())
    }

    fn row() -> impl Strategy<Value = (Option<String>, Value)> {
        (id(), id(), 0..4).prop_map(|(id, text, kind)| match kind {
            0 => (None, json!({"key": text, "error": "not_found"})),
            1 => (None, json!({"value": {"id": text}})),
            2 => (
                Some(id.clone()),
                json!({"id": id, "key": [text, {"rows": []}], "value": null}),
            ),
            _ => (
                Some(id.clone()),
                json!({"id": id, "key": id, "value": {"rev": "1-a"}, "doc": {"id": text}}),
            ),
        })
    }

    proptest! {
        #[test]
        fn every_row_is_read_wherever_the_text_is_cut(
            rows in proptest::collection::vec(row(), 0..5),
            seq in id(),
            nested: bool,
            pretty: bool,
            cuts in proptest::collection::vec(0..40_usize, 1..5),
        ) {
            let shown: Vec<&Value> = rows.iter().map(|(_, row)| row).collect();
            let listing = json!({"total_rows": 5, "update_seq": seq, "rows": shown});
            let listing = if nested { json!({"results": [listing]}) } else { listing };
            let text = if pretty { serde_json::to_string_pretty(&listing) } else { serde_json::to_string(&listing) }.unwrap();
            let head = json!({"total_rows": 5, "update_seq": seq});
            let expected = (head.as_object().unwrap().clone(), rows);
            prop_assert_eq!(read(&text, &cuts).unwrap(), Some(expected));
        }
    }

    #[test]
    fn a_listing_that_breaks_off_has_no_end() {
        let text = "{\"total_rows\":2,\"offset\":0,\"rows\":[\r\n{\"id\":\"a\",\"key\":1},\r\n{\"id\":\"b\",\"key\":2}\r\n]}\n";
        assert_eq!(read(text, &[7]).unwrap().unwrap().1.len(), 2);
        let broken = text.replace("\r\n]}", "");
        assert_eq!(read(&broken, &[7]), Ok(None));
    }

    #[test]
    fn what_is_no_listing_is_refused_in_bounded_memory() {
        assert_eq!(read("{\"rows\":[5]}", &[]), Err(NoListing));
        let long = "x".repeat(LIMIT + 2);
        assert_eq!(read(&long, &[]), Err(NoListing));
        assert_eq!(read(&format!("{{\"rows\":[{{\"id\":\"{long}"), &[]), Err(NoListing));
    }
}
