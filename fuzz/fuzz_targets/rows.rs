//! The row filter loses no byte of a row it keeps, whatever comes and wherever it is cut; and of a feed as CouchDB writes it, exactly the
//! rows pass that are let pass.
#![no_main]

use bytes::Bytes;
use chesterfield::couch::feed::{Framing, Malformed, Sieve};
use chesterfield_fuzz::Bytes as Choices;
use libfuzzer_sys::fuzz_target;

const FRAMINGS: [Framing; 3] = [Framing::Array, Framing::Lines, Framing::Events];

type Sifted = (Vec<u8>, Result<Option<Vec<u8>>, Malformed>);

/// What passes, and how it ends.
fn sift(framing: Framing, limit: Option<u64>, pieces: &[&[u8]], admits: impl Fn(&str) -> bool) -> Sifted {
    let (mut sieve, mut passed) = (Sieve::new(framing, limit), Vec::new());
    for piece in pieces {
        match sieve.sift(&Bytes::copy_from_slice(piece), &admits) {
            Ok(bytes) => passed.extend_from_slice(&bytes),
            Err(error) => return (passed, Err(error)),
        }
    }
    let end = sieve.end().map(|end| end.map(|(_, text)| text.to_vec()));
    (passed, end)
}

fn all(passed: &[u8], end: &Result<Option<Vec<u8>>, Malformed>) -> Vec<u8> {
    let end = end.as_ref().ok().and_then(Option::as_deref);
    [passed, end.unwrap_or_default()].concat()
}

fn cut<'a>(text: &'a [u8], choices: &mut Choices) -> Vec<&'a [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at((1 + choices.below(64)).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

fn whatever(framing: Framing, choices: &mut Choices, text: &[u8]) {
    let is_odd = |id: &str| id.len() % 2 == 1;
    let (passed, end) = sift(framing, None, &[text], is_odd);
    let (in_pieces, ended) = sift(framing, None, &cut(text, choices), is_odd);
    assert_eq!(end.is_ok(), ended.is_ok());
    match &end {
        // A feed may be cut before or behind the space at its end.
        Ok(_) => assert_eq!(all(&passed, &end), all(&in_pieces, &ended)),
        // It is noticed sooner or later; what has passed is right.
        Err(_) => assert!(in_pieces.starts_with(&passed)),
    }
    let (passed, end) = sift(framing, None, &[text], |_| true);
    // What separates rows is written anew where it is missing, or stands before the first.
    let rows = |text: &[u8]| -> Vec<u8> {
        let between = |byte: &u8| *byte == b',' || byte.is_ascii_whitespace();
        text.iter().copied().filter(|byte| !between(byte)).collect()
    };
    if end.is_ok() {
        let (rows, passed) = (rows(text), rows(&all(&passed, &end)));
        let rest = rows.strip_prefix(&*passed);
        // Nobody is told of an event that has only begun.
        let begun = if framing == Framing::Events { "data:" } else { "" };
        assert!(
            rest.is_some_and(|rest| begun.as_bytes().starts_with(rest)),
            "all of it passes"
        );
    }
}

/// A feed with rows of the given ids, all or those that are kept.
fn feed(framing: Framing, rows: &[(usize, bool)], all: bool) -> Vec<u8> {
    let rows = rows.iter().filter(|(_, kept)| all || *kept).map(|(n, kept)| {
        let id = if *kept { "k" } else { "d" };
        format!(r#"{{"seq":"{n}-x]}}","id":"{id}{n}","changes":[{{"rev":"1-{n}"}}],"doc":{{"a":"]}}\\\"{{"}}}}"#)
    });
    let rows: Vec<String> = rows.collect();
    match framing {
        Framing::Array => format!(
            "{{\"results\":[\n{}\n],\n\"last_seq\":\"9-z\",\"pending\":0}}\n",
            rows.join(",\n")
        ),
        Framing::Lines => rows.iter().map(|row| format!("{row}\n")).collect(),
        Framing::Events => rows.iter().map(|row| format!("data: {row}\nid: 1\n\n")).collect(),
    }
    .into()
}

fn as_written(framing: Framing, choices: &mut Choices) {
    let count = choices.below(16);
    let rows: Vec<(usize, bool)> = (0..count).map(|n| (n, choices.next() & 1 == 1)).collect();
    let text = feed(framing, &rows, true);
    let (passed, end) = sift(framing, None, &cut(&text, choices), |id| id.starts_with('k'));
    let end = end.expect("a feed of CouchDB's").unwrap_or_default();
    let parse = |text: &[u8]| -> Vec<serde_json::Value> {
        let text = String::from_utf8(text.to_vec()).expect("text");
        match framing {
            Framing::Array => vec![serde_json::from_str(&text).expect("JSON")],
            _ => {
                let rows = text.lines().map(|line| line.trim_start_matches("data: "));
                let rows = rows.filter(|line| !line.is_empty() && !line.starts_with("id:"));
                rows.map(|row| serde_json::from_str(row).expect("a row")).collect()
            }
        }
    };
    assert_eq!(parse(&[passed, end].concat()), parse(&feed(framing, &rows, false)));
}

fuzz_target!(|data: &[u8]| {
    let [kind, rest @ ..] = data else { return };
    let framing = FRAMINGS[usize::from(kind >> 1) % FRAMINGS.len()];
    let (choices, text) = rest.split_at(rest.len().min(16));
    match kind & 1 {
        0 => whatever(framing, &mut Choices(choices), text),
        _ => as_written(framing, &mut Choices(rest)),
    }
});
