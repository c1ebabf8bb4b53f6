//! One row of a feed: the beginning that names its document, and where it ends.

use std::borrow::Cow;

use memchr::memchr2;

/// The beginning of a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head<'a> {
    /// More has to come before it can be told.
    Partial,
    /// `{"seq":…,"id":…`, as CouchDB writes it: `seq` is JSON, `id` what stands between its quotes, `length` what both take.
    Known { seq: &'a [u8], id: &'a [u8], length: usize },
    /// Anything else.
    Strange,
}

/// Reads the beginning of what begins with a brace. The id stands before the document, which may be of any size.
pub(super) fn head(text: &[u8]) -> Head<'_> {
    const SEQ: &[u8] = b"{\"seq\":";
    const ID: &[u8] = b",\"id\":\"";
    // None: more has to come; an error: strange.
    let expect = |at: usize, what: &[u8]| {
        let there = &text[at..text.len().min(at + what.len())];
        match what.starts_with(there) {
            true if there.len() == what.len() => Ok(Some(at + what.len())),
            true => Ok(None),
            false => Err(()),
        }
    };
    let parsed = || -> Result<Option<Head<'_>>, ()> {
        let Some(from) = expect(0, SEQ)? else { return Ok(None) };
        let to = match text.get(from) {
            Some(b'"') => string_end(&text[from + 1..]).map(|end| from + 1 + end),
            // `null` under `seq_interval`, or a number.
            Some(b'n' | b'0'..=b'9') => memchr2(b',', b'}', &text[from..]).map(|end| from + end),
            Some(_) => return Err(()),
            None => None,
        };
        let Some(to) = to else { return Ok(None) };
        let Some(id) = expect(to, ID)? else { return Ok(None) };
        let Some(end) = string_end(&text[id..]) else {
            return Ok(None);
        };
        Ok(Some(Head::Known {
            seq: &text[from..to],
            id: &text[id..id + end - 1],
            length: id + end,
        }))
    };
    match parsed() {
        Ok(Some(head)) => head,
        Ok(None) => Head::Partial,
        Err(()) => Head::Strange,
    }
}

/// The text that stands between the quotes of a JSON string; none if it is no such text.
pub(super) fn unescape(inner: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(inner).ok()?;
    if !inner.contains(&b'\\') {
        return Some(Cow::Borrowed(text));
    }
    serde_json::from_str(&format!("\"{text}\"")).ok().map(Cow::Owned)
}

/// The length of what follows the head of the usual row, to its closing brace: revisions, perhaps `deleted`, no document.
pub(super) fn usual_rest(text: &[u8]) -> Option<usize> {
    const CHANGES: &[u8] = b",\"changes\":[";
    const REV: &[u8] = b"{\"rev\":\"";
    let mut at = text.starts_with(CHANGES).then_some(CHANGES.len())?;
    loop {
        at += text[at..].starts_with(REV).then_some(REV.len())?;
        let end = at + memchr2(b'"', b'\\', &text[at..])?;
        at = text[end..].starts_with(b"\"}").then_some(end + 2)?;
        match text.get(at)? {
            b',' => at += 1,
            b']' => break,
            _ => return None,
        }
    }
    let rest = &text[at + 1..];
    [&b"}"[..], b",\"deleted\":true}"]
        .into_iter()
        .find(|end| rest.starts_with(end))
        .map(|end| at + 1 + end.len())
}

/// Where a string ends whose opening quote has been read: behind its closing one.
fn string_end(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[found] == b'"' {
            return Some(found + 1);
        }
        at = found + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_names_the_document() {
        let known = |text: &'static str| match head(text.as_bytes()) {
            Head::Known { seq, id, length } => (
                std::str::from_utf8(seq).unwrap().to_owned(),
                unescape(id).unwrap().into_owned(),
                text[length..].to_owned(),
            ),
            other => panic!("{text}: {other:?}"),
        };
        let row = |seq: &str, id: &str, rest: &str| (seq.to_owned(), id.to_owned(), rest.to_owned());
        assert_eq!(
            known(r#"{"seq":"1-g","id":"a","changes":[]}"#),
            row("\"1-g\"", "a", ",\"changes\":[]}")
        );
        assert_eq!(known(r#"{"seq":null,"id":"a\"\\b""#), row("null", "a\"\\b", ""));
        assert_eq!(known(r#"{"seq":12,"id":"\u00e4\n"}"#), row("12", "ä\n", "}"));
    }

    #[test]
    fn what_is_not_as_usual_is_told_from_what_is_not_yet_there() {
        let whole = r#"{"seq":"1-g","id":"a""#;
        for end in 0..whole.len() {
            assert_eq!(head(&whole.as_bytes()[..end]), Head::Partial, "{end}");
        }
        for text in [
            "{\"id\"",
            "{ \"seq\":1",
            "{\"seq\":[1]",
            "{\"seq\":1,\"doc\":{}",
            "{\"last_seq\":1}",
            "{\"seq\":1}",
        ] {
            assert_eq!(head(text.as_bytes()), Head::Strange, "{text}");
        }
    }

    #[test]
    fn the_usual_rest_is_taken_at_once() {
        for (text, length) in [
            (r#","changes":[{"rev":"1-a"}]},"#, Some(27)),
            (r#","changes":[{"rev":"1-a"},{"rev":"1-b"}],"deleted":true}"#, Some(56)),
            // A revision may hold anything.
            (r#","changes":[{"rev":"1-\"}]}"}]}"#, None),
            (r#","changes":[{"rev":"1-a"}],"doc":{}}"#, None),
            (r#","changes":[]}"#, None),
            (r#","changes":[{"rev":"1-a"}]"#, None),
        ] {
            assert_eq!(usual_rest(text.as_bytes()), length, "{text}");
        }
    }
}
