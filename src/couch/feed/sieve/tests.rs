//! Whatever a feed looks like and however it is cut, what passes is what should.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn admits(id: &str) -> bool {
    !id.starts_with('h')
}

/// What passes, with the feed cut after every so many bytes; and how it ends.
fn sifted(sieve: &mut Sieve, feed: &str, every: usize) -> Result<(String, Option<(Tail, Bytes)>), Malformed> {
    let mut passed = Vec::new();
    for piece in feed.as_bytes().chunks(every.max(1)) {
        passed.extend_from_slice(&sieve.sift(&Bytes::copy_from_slice(piece), admits)?);
    }
    let end = sieve.end()?;
    Ok((String::from_utf8(passed).unwrap(), end))
}

fn ids(feed: &str) -> Vec<String> {
    let feed: Value = serde_json::from_str(feed).unwrap_or_else(|error| panic!("{error}: {feed}"));
    let rows = feed["results"].as_array().unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

const THREE: &str = "{\"results\":[\n{\"seq\":\"1-g\",\"id\":\"h\",\"changes\":[{\"rev\":\"1-a\"}]},\r\n\
    {\"seq\":\"2-g\",\"id\":\"v\",\"changes\":[{\"rev\":\"1-a\"},{\"rev\":\"1-b\"}],\"deleted\":true}\n,\r\n\
    {\"seq\":null,\"id\":\"w\",\"changes\":[{\"rev\":\"1-a\"}],\"doc\":{\"_id\":\"w\",\"x\":[\"}{\\\"\"]}}\n],\n\"last_seq\":\"3-g\",\"pending\":0}\n";

#[test]
fn hidden_rows_go_with_their_commas() {
    for every in 1..THREE.len() + 1 {
        let mut sieve = Sieve::new(Framing::Array, None);
        let (passed, end) = sifted(&mut sieve, THREE, every).unwrap();
        let (tail, text) = end.unwrap();
        let whole = passed + std::str::from_utf8(&text).unwrap();
        assert_eq!(ids(&whole), ["v", "w"], "{every}: {whole}");
        assert_eq!((sieve.seen(), sieve.kept(), sieve.last_seq()), (3, 2, None));
        assert_eq!((tail.last_seq.as_str(), tail.pending), ("\"3-g\"", Some(0)));
        // The heartbeat before the comma is still there, and nothing else was touched.
        let expected = THREE.replace(
            "{\"seq\":\"1-g\",\"id\":\"h\",\"changes\":[{\"rev\":\"1-a\"}]},\r\n",
            "",
        );
        assert_eq!(whole.replace('\n', ""), expected.replace('\n', ""));
    }
}

#[test]
fn what_passes_whole_is_not_copied() {
    let piece = Bytes::from(THREE.replace("\"h\"", "\"v\""));
    let mut sieve = Sieve::new(Framing::Array, None);
    let passed = sieve.sift(&piece, admits).unwrap();
    assert_eq!(passed.as_ptr(), piece.as_ptr());
    let (_, end) = sieve.end().unwrap().unwrap();
    assert_eq!([passed, end].concat(), piece);
}

#[test]
fn rows_after_the_limit_are_counted() {
    let mut sieve = Sieve::new(Framing::Array, Some(1));
    let (passed, end) = sifted(&mut sieve, THREE, 7).unwrap();
    assert_eq!(passed.matches("\"id\"").count(), 1);
    assert_eq!((sieve.last_seq(), sieve.beyond()), (Some("\"2-g\""), 1));
    assert_eq!(end.unwrap().0.pending, Some(0));
}

#[test]
fn pages_become_one_feed() {
    for every in [1, 5, 1000] {
        let mut sieve = Sieve::new(Framing::Array, Some(3));
        let (first, _) = sifted(&mut sieve, THREE, every).unwrap();
        sieve.turn();
        let (second, end) = sifted(&mut sieve, THREE, every).unwrap();
        let (_, text) = end.unwrap();
        let whole = first + &second + std::str::from_utf8(&text).unwrap();
        assert_eq!(ids(&whole), ["v", "w", "v"], "{whole}");
        assert_eq!((sieve.seen(), sieve.beyond()), (3, 1));
    }
    let mut sieve = Sieve::new(Framing::Array, None);
    let nothing = THREE.replace("\"v\"", "\"h\"").replace("\"w\"", "\"h\"");
    let (first, _) = sifted(&mut sieve, &nothing, 3).unwrap();
    sieve.turn();
    let (second, end) = sifted(&mut sieve, &nothing, 3).unwrap();
    let whole = first + &second + std::str::from_utf8(&end.unwrap().1).unwrap();
    assert_eq!(ids(&whole), Vec::<String>::new());
}

#[test]
fn a_row_is_passed_on_before_it_has_come_whole() {
    let mut sieve = Sieve::new(Framing::Array, None);
    let begun = Bytes::from_static(
        b"{\"results\":[\n{\"seq\":\"1-g\",\"id\":\"v\",\"changes\":[{\"rev\":\"1-a\"}],\"doc\":{\"a\":\"",
    );
    assert_eq!(sieve.sift(&begun, admits).unwrap(), begun);
    let mut sieve = Sieve::new(Framing::Array, None);
    let hidden = Bytes::from(String::from_utf8(begun.to_vec()).unwrap().replace("\"v\"", "\"h\""));
    sieve.sift(&hidden, admits).unwrap();
    for _ in 0..1000 {
        let more = Bytes::from(vec![b'x'; 1 << 16]);
        assert!(sieve.sift(&more, admits).unwrap().is_empty());
    }
    assert!(sieve.held.capacity() < 1024 && sieve.lead.capacity() < 1024);
}

#[test]
fn heartbeats_pass_at_once() {
    let beat = Bytes::from_static(b"\n");
    for framing in [Framing::Array, Framing::Lines] {
        let mut sieve = Sieve::new(framing, None);
        if framing == Framing::Array {
            sieve.sift(&Bytes::from_static(b"{\"results\":["), admits).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(sieve.sift(&beat, admits).unwrap(), "\n");
        }
    }
    let beat = Bytes::from_static(b"event: heartbeat\ndata: \n\n");
    let mut sieve = Sieve::new(Framing::Events, None);
    for _ in 0..3 {
        assert_eq!(sieve.sift(&beat, admits).unwrap(), beat);
    }
}

#[test]
fn lines_and_events_are_dropped_whole() {
    let lines = "{\"seq\":\"1\",\"id\":\"h\",\"changes\":[]}\n\n{\"seq\":\"2\",\"id\":\"v\",\"changes\":[]}\n\
        {\"seq\":\"3\",\"id\":\"h\",\"changes\":[]}\n{\"last_seq\":\"3\",\"pending\":4}\n";
    let events = "data: {\"seq\":\"1\",\"id\":\"h\",\"changes\":[]}\nid: \"1\"\n\nevent: heartbeat\ndata: \n\n\
        data: {\"seq\":\"2\",\"id\":\"v\",\"changes\":[]}\nid: \"2\"\n\ndata: {\"seq\":\"3\",\"id\":\"h\",\"changes\":[]}\nid: \"3\"\n\n\n";
    for every in 1..events.len() {
        let (passed, end) = sifted(&mut Sieve::new(Framing::Lines, None), lines, every).unwrap();
        assert_eq!(passed, "\n{\"seq\":\"2\",\"id\":\"v\",\"changes\":[]}\n");
        let (tail, text) = end.unwrap();
        assert_eq!((tail.last_seq.as_str(), tail.pending), ("\"3\"", Some(4)));
        assert_eq!(text, "{\"last_seq\":\"3\",\"pending\":4}\n");
        let (passed, end) = sifted(&mut Sieve::new(Framing::Events, None), events, every).unwrap();
        assert_eq!(
            passed,
            "event: heartbeat\ndata: \n\ndata: {\"seq\":\"2\",\"id\":\"v\",\"changes\":[]}\nid: \"2\"\n\n\n"
        );
        assert_eq!(end, None);
    }
}

#[test]
fn the_last_row_of_a_limit_counts_when_it_is_whole() {
    let mut sieve = Sieve::new(Framing::Lines, Some(1));
    let mut feed = |text: &'static str| {
        sieve.sift(&Bytes::from_static(text.as_bytes()), admits).unwrap();
        sieve.last_seq().map(str::to_owned)
    };
    assert_eq!(feed("{\"seq\":\"1\",\"id\":\"v\",\"ch"), None);
    assert_eq!(feed("anges\":[]}"), None);
    assert_eq!(feed("\n"), Some("\"1\"".to_owned()));
}

#[test]
fn what_cannot_be_understood_ends_the_feed() {
    let array = |rows: &str| format!("{{\"results\":[\n{rows}\n],\n\"last_seq\":1,\"pending\":0}}\n");
    let row = "{\"seq\":1,\"id\":\"h\",\"changes\":[]}";
    for (framing, feed) in [
        (Framing::Array, "<html>".to_owned()),
        (Framing::Array, "{\"rows\":[]}".to_owned()),
        (Framing::Array, "{\"results\":[".to_owned()),
        (Framing::Array, "{\"results\":[\n],\n".to_owned()),
        (Framing::Array, array("[1]")),
        (Framing::Array, array("{}")),
        (Framing::Array, array("{\"seq\":1,\"changes\":[]}")),
        (Framing::Array, array("{\"id\":1,\"seq\":1}")),
        (Framing::Array, array("{\"id\":\"v\",\"id\":\"h\"}")),
        (Framing::Array, array("{\"seq\":1,\"id\":\"\\x\"}")),
        (Framing::Array, array(&format!("{row},"))),
        (Framing::Array, array(&format!("{row},,{row}"))),
        (Framing::Lines, format!("{row}{row}\n")),
        (Framing::Lines, "{\"error\":\"x\"}\n".to_owned()),
        (Framing::Lines, "{\"seq\":1,\"id\":\"v\"".to_owned()),
        (Framing::Events, format!("data: x{row}\n\n")),
        (Framing::Events, format!("{row}\n\n")),
    ] {
        for every in [1, 3, 1000] {
            let outcome = sifted(&mut Sieve::new(framing, None), &feed, every);
            assert!(outcome.is_err(), "{feed}: {outcome:?}");
        }
    }
}

#[test]
fn an_endless_row_of_unknown_shape_is_not_held() {
    let mut sieve = Sieve::new(Framing::Array, None);
    sieve
        .sift(&Bytes::from_static(b"{\"results\":[{\"doc\":\""), admits)
        .unwrap();
    let more = Bytes::from(vec![b'x'; 1 << 20]);
    let fails = (0..20).any(|_| sieve.sift(&more, admits).is_err());
    assert!(fails);
}

/// How a server may write rows.
#[derive(Clone, Copy, Debug)]
enum Style {
    CouchDb,
    OneLine,
    Pretty,
    OtherOrder,
}

fn written(rows: &[(String, Value)], style: Style) -> String {
    let row = |(nth, (id, doc)): (usize, &(String, Value))| {
        let mut row = json!({"seq": format!("{nth}-g"), "id": id, "changes": [{"rev": "1-\"}]}"}]});
        if !doc.is_null() {
            row["doc"] = doc.clone();
        }
        match style {
            Style::CouchDb | Style::OneLine => row.to_string(),
            Style::Pretty => serde_json::to_string_pretty(&row).unwrap(),
            Style::OtherOrder => {
                json!({"doc": row["doc"], "changes": row["changes"], "id": id, "seq": row["seq"]}).to_string()
            }
        }
    };
    let rows: Vec<String> = rows.iter().enumerate().map(row).collect();
    match style {
        Style::OneLine => format!(
            "{{\"results\":[{}],\"last_seq\":\"9-g\",\"pending\":1}}",
            rows.join(",")
        ),
        Style::Pretty => format!(
            "{{ \"results\" : [ {} ] , \"last_seq\" : \"9-g\" , \"pending\" : 1 }}",
            rows.join(" , ")
        ),
        _ => format!(
            "{{\"results\":[\n{}\n],\n\"last_seq\":\"9-g\",\"pending\":1}}\n",
            rows.join(",\r\n")
        ),
    }
}

proptest! {
    /// No hidden row passes, no visible one is lost, however rows are written and pieces cut; what passes is JSON.
    #[test]
    fn the_visible_rows_pass(
        rows in proptest::collection::vec(
            ("[hvé\"\\\\{},\n\u{1}]{1,4}", prop_oneof![Just(Value::Null), "[\\]},{\"\\\\:hid]{0,9}".prop_map(|text| json!({"id": text, text: [1, {}]}))]),
            0..8,
        ),
        style in prop_oneof![Just(Style::CouchDb), Just(Style::OneLine), Just(Style::Pretty), Just(Style::OtherOrder)],
        every in 1_usize..90,
        limit in proptest::option::of(1_u64..6),
    ) {
        let feed = written(&rows, style);
        let mut sieve = Sieve::new(Framing::Array, limit);
        let (passed, end) = sifted(&mut sieve, &feed, every).unwrap();
        let whole = passed + std::str::from_utf8(&end.unwrap().1).unwrap();
        let visible: Vec<&String> = rows.iter().map(|(id, _)| id).filter(|id| admits(id)).collect();
        let most = limit.map_or(visible.len(), |limit| visible.len().min(limit as usize));
        prop_assert_eq!(ids(&whole), visible[..most].iter().map(|id| id.to_string()).collect::<Vec<_>>());
        prop_assert_eq!(sieve.seen(), rows.len() as u64);
    }
}
