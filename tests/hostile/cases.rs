//! What a hostile or broken client may send, and what comes of it.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

/// What is to be answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answered {
    /// What CouchDB answers: the same status, if one is there to be asked.
    AsCouch,
    /// This status, by the proxy itself, with `{"error","reason"}`.
    By(u16),
    /// This status, by the proxy's HTTP library: it has understood nothing.
    Bare(u16),
}
use Answered::{AsCouch, Bare, By};

pub struct Case {
    pub name: &'static str,
    pub answered: Answered,
    /// `{db}` and `{auth}` stand for the database, and for the line that says who asks.
    pub request: Vec<u8>,
}

const DOCUMENT: &str = r#"{"schema":"todo-item","version":1,"title":"x","isDone":false}"#;

fn case(name: &'static str, answered: Answered, request: impl Into<Vec<u8>>) -> Case {
    Case {
        name,
        answered,
        request: request.into(),
    }
}

/// A whole request; further headers end with a line break each.
fn request(line: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n{{auth}}{headers}\r\n"
    );
    [head.as_bytes(), body.as_ref()].concat()
}

/// With its length.
fn sent(line: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let length = body.as_ref().len();
    request(line, &format!("{headers}Content-Length: {length}\r\n"), body)
}

fn put(id: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    sent(&format!("PUT /{{db}}/todo-item:{id}:v:1"), "", body)
}

fn put_with(id: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    request(&format!("PUT /{{db}}/todo-item:{id}:v:1"), headers, body)
}

fn bulk(body: impl AsRef<[u8]>) -> Vec<u8> {
    sent("POST /{db}/_bulk_docs", "", body)
}

fn get(path: &str) -> Vec<u8> {
    request(&format!("GET {path}"), "", "")
}

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zipped(line: &str, body: &[u8]) -> Vec<u8> {
    sent(line, "Content-Encoding: gzip\r\n", body)
}

/// Text of so many bytes, in JSON.
fn long(before: &str, length: usize, behind: &str) -> String {
    format!("{before}{}{behind}", "a".repeat(length))
}

pub fn cases() -> Vec<Case> {
    [json(), documents(), framing(), heads(), targets(), compressed()]
        .into_iter()
        .flatten()
        .collect()
}

fn json() -> Vec<Case> {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_selector = format!("{}{{}}{}", r#"{"$not":"#.repeat(50_000), "}".repeat(50_000));
    vec![
        case("JSON that breaks off", AsCouch, put("broken", r#"{"a":"#)),
        case("no JSON at all", AsCouch, put("nothing", "")),
        case("no object", AsCouch, put("array", "[]")),
        case("10^5 brackets", AsCouch, put("deep", format!(r#"{{"a":{deep}}}"#))),
        case(
            "10^5 brackets in a batch",
            AsCouch,
            bulk(format!(r#"{{"docs":[{{"_id":"todo-item:d:v:1","a":{deep}}}]}}"#)),
        ),
        case(
            "10^5 brackets for documents",
            AsCouch,
            bulk(format!(r#"{{"docs":{deep}}}"#)),
        ),
        case(
            "a selector of 50,000 negations",
            AsCouch,
            sent(
                "POST /{db}/_changes?filter=_selector",
                "App-Version: todo-app@3.0.0\r\n",
                format!(r#"{{"selector":{deep_selector}}}"#),
            ),
        ),
        case(
            "a doubled key",
            AsCouch,
            put("twice", r#"{"title":"a","title":"b","isDone":false,"isDone":true}"#),
        ),
        case(
            "a doubled id",
            AsCouch,
            bulk(r#"{"docs":[{"_id":"a","_id":"todo-item:two:v:1"}],"docs":[{"_id":"todo-item:b:v:1"}]}"#),
        ),
        case(
            "bytes that are no UTF-8",
            AsCouch,
            put("bytes", b"{\"title\":\"\xff\xfe\"}"),
        ),
        case("half a surrogate", AsCouch, put("half", r#"{"title":"\ud800"}"#)),
        case(
            "half a surrogate in an id",
            AsCouch,
            bulk(r#"{"docs":[{"_id":"todo-item:\ud800:v:1"}]}"#),
        ),
        case("a number beyond all", AsCouch, put("number", r#"{"title":1e999999}"#)),
    ]
}

fn documents() -> Vec<Case> {
    let many = format!(r#"{{"docs":[{}]}}"#, vec!["1"; 20_000].join(","));
    vec![
        case(
            "documents that are none",
            AsCouch,
            bulk(r#"{"docs":[1,"a",null,[],{}]}"#),
        ),
        case("20,000 of them", AsCouch, bulk(many)),
        case("a batch of null", AsCouch, bulk("null")),
        case("documents in an object", AsCouch, bulk(r#"{"docs":{}}"#)),
        case("no documents", AsCouch, bulk("{}")),
        case("an id that is no text", AsCouch, bulk(r#"{"docs":[{"_id":1}]}"#)),
        case(
            "a history of nonsense",
            AsCouch,
            bulk(r#"{"new_edits":false,"docs":[{"_id":"todo-item:h:v:1","_revisions":{"start":"x","ids":[1]}}]}"#),
        ),
        case(
            "a history longer than its generation",
            AsCouch,
            bulk(
                r#"{"new_edits":false,"docs":[{"_id":"todo-item:g:v:1","title":"x","_revisions":{"start":1,"ids":["a","b","c"]}}]}"#,
            ),
        ),
        case(
            "a generation beyond all integers",
            AsCouch,
            bulk(
                r#"{"new_edits":false,"docs":[{"_id":"todo-item:i:v:1","title":"x","_rev":"1000000000000000000000000000000-a"}]}"#,
            ),
        ),
        case(
            "an id of 100 kB in a batch",
            AsCouch,
            bulk(long(
                r#"{"docs":[{"_id":"todo-item:"#,
                100_000,
                r#":v:1","title":"x","isDone":false}]}"#,
            )),
        ),
        case(
            "a document of 9 MB",
            AsCouch,
            put("long", long(r#"{"title":""#, 9_000_000, r#"","isDone":false}"#)),
        ),
        case(
            "_bulk_get of what is none",
            AsCouch,
            sent("POST /{db}/_bulk_get", "", r#"{"docs":[1]}"#),
        ),
    ]
}

/// Requests whose length two servers may read in two ways.
fn framing() -> Vec<Case> {
    let length = DOCUMENT.len();
    let chunks = chunked(DOCUMENT);
    let with = |coding: &str| format!("Transfer-Encoding: {coding}\r\n");
    vec![
        case(
            "a length and chunks",
            AsCouch,
            put_with(
                "both",
                &format!("Content-Length: {length}\r\n{}", with("chunked")),
                &chunks,
            ),
        ),
        case(
            "a request behind the last chunk, within the length",
            AsCouch,
            [
                b"POST /{db}/_bulk_docs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{auth}".as_slice(),
                b"Content-Length: 60\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
                b"0\r\n\r\nGET /_all_dbs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            ]
            .concat(),
        ),
        case(
            "two lengths that differ",
            Bare(400),
            put_with(
                "two",
                &format!("Content-Length: 5\r\nContent-Length: {length}\r\n"),
                DOCUMENT,
            ),
        ),
        case(
            "a list of lengths",
            Bare(400),
            put_with("list", &format!("Content-Length: {length}, 5\r\n"), DOCUMENT),
        ),
        case(
            "a signed length",
            Bare(400),
            put_with("sign", &format!("Content-Length: +{length}\r\n"), DOCUMENT),
        ),
        case(
            "a length below zero",
            Bare(400),
            put_with("below", "Content-Length: -1\r\n", DOCUMENT),
        ),
        case(
            "a length beyond all integers",
            Bare(400),
            put_with("huge", "Content-Length: 99999999999999999999999\r\n", DOCUMENT),
        ),
        case(
            "a length that is none",
            Bare(400),
            put_with("none", "Content-Length: abc\r\n", DOCUMENT),
        ),
        case(
            "a folded header",
            Bare(400),
            put_with("fold", "Transfer-Encoding:\r\n chunked\r\n", &chunks),
        ),
        case(
            "a space before the colon",
            Bare(400),
            put_with("space", "Transfer-Encoding : chunked\r\n", &chunks),
        ),
        case(
            "chunked, identity",
            Bare(400),
            put_with("identity", &with("chunked, identity"), &chunks),
        ),
        case(
            "something like chunked",
            Bare(400),
            put_with("like", &with("xchunked"), &chunks),
        ),
        case(
            "chunked twice",
            By(400),
            put_with("doubled", &with("chunked, chunked"), &chunks),
        ),
        case(
            "chunked in two headers",
            By(400),
            put_with("headers", &[with("chunked"), with("chunked")].concat(), &chunks),
        ),
        case(
            "compressed in transfer",
            By(400),
            put_with("transfer", &with("gzip, chunked"), &chunks),
        ),
        case(
            "a chunk of no length",
            By(400),
            put_with("size", &with("chunked"), "zz\r\n{}\r\n0\r\n\r\n"),
        ),
        case(
            "a chunk of a length beyond all",
            By(400),
            put_with("beyond", &with("chunked"), "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ),
        case(
            "a chunk below zero",
            By(400),
            put_with("minus", &with("chunked"), "-1\r\n{}\r\n0\r\n\r\n"),
        ),
        case(
            "1 MB of chunk extensions",
            By(400),
            put_with(
                "extension",
                &with("chunked"),
                long("2;", 1 << 20, "\r\n{}\r\n0\r\n\r\n"),
            ),
        ),
        case(
            "1 MB of trailers",
            By(400),
            put_with(
                "trailer",
                &with("chunked"),
                long("2\r\n{}\r\n0\r\nx: ", 1 << 20, "\r\n\r\n"),
            ),
        ),
    ]
}

fn heads() -> Vec<Case> {
    let with = |headers: &str| request("GET /{db}", headers, "");
    let headers = |count: usize| (0..count).map(|n| format!("x-{n}: a\r\n")).collect::<String>();
    vec![
        case("a header of 20 kB", AsCouch, with(&long("x: ", 20_000, "\r\n"))),
        case("a header of 2 MB", Bare(431), with(&long("x: ", 2 << 20, "\r\n"))),
        case("90 headers", AsCouch, with(&headers(90))),
        case("1,500 headers", Bare(431), with(&headers(1500))),
        case("a NUL in a header", Bare(400), with("x: a\0b\r\n")),
        case("a header without a colon", Bare(400), with("xx\r\n")),
        case("a header of no name", Bare(400), with("x(y: z\r\n")),
        case(
            "a version that is no text",
            By(400),
            with_bytes(b"App-Version: \xff\r\n"),
        ),
        case(
            "a version of 5 kB",
            By(400),
            with(&long("App-Version: todo-app@", 5000, ".0.0\r\n")),
        ),
        case("no HTTP", Bare(400), "\0\x01\x02\x03\r\n\r\n"),
        case(
            "a greeting of TLS",
            Bare(400),
            [b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".as_slice(), &[0; 500]].concat(),
        ),
        case("HTTP/3.7", Bare(400), "GET /{db} HTTP/3.7\r\nHost: x\r\n{auth}\r\n"),
        case(
            "lines that end with LF alone",
            AsCouch,
            "GET / HTTP/1.1\nHost: x\nConnection: close\n\n",
        ),
        case("an unknown method", AsCouch, request("BREW /{db}", "", "")),
        case(
            "a method of 10 kB",
            AsCouch,
            request(
                &long("", 10_000, " /{db}").to_uppercase().replace("{DB}", "{db}"),
                "",
                "",
            ),
        ),
    ]
}

fn with_bytes(header: &[u8]) -> Vec<u8> {
    [
        b"GET /{db} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{auth}".as_slice(),
        header,
        b"\r\n",
    ]
    .concat()
}

fn targets() -> Vec<Case> {
    let written = |path: &str| sent(&format!("PUT {path}"), "", DOCUMENT);
    vec![
        case(
            "an encoded underscore",
            AsCouch,
            sent(
                "POST /{db}/%5Fbulk_docs",
                "",
                r#"{"docs":[{"_id":"todo-item:u:v:1","title":"x","isDone":false}]}"#,
            ),
        ),
        case("two dots", AsCouch, get("/{db}/../_all_dbs")),
        case("two encoded dots", AsCouch, get("/{db}/%2e%2e/_all_dbs")),
        case(
            "slashes without end",
            AsCouch,
            written(&format!("//{{db}}{}todo-item:s:v:1", "/".repeat(2000))),
        ),
        case(
            "an encoded slash behind the database",
            AsCouch,
            get("/{db}%2Ftodo-item:s2:v:1"),
        ),
        case("a NUL in an id", AsCouch, written("/{db}/todo-item:%00:v:1")),
        case("an id that is no UTF-8", AsCouch, written("/{db}/todo-item:%ff:v:1")),
        case("an escape of no digits", AsCouch, get("/{db}/todo-item:%zz:v:1")),
        case("half an escape", AsCouch, get("/{db}/todo-item:v:1%")),
        case(
            "a path of 7 kB",
            AsCouch,
            written(&long("/{db}/todo-item:", 7000, ":v:1")),
        ),
        case("a path of 9 kB", AsCouch, get(&long("/{db}/", 9000, ""))),
        case("a path of 70 kB", Bare(414), get(&long("/{db}/", 70_000, ""))),
        case("a path of 2 MB", Bare(431), get(&long("/{db}/", 2 << 20, ""))),
        case("spaces in a path", Bare(400), get("/{db}/a b c")),
        case("another's address", AsCouch, get("http://elsewhere.example/{db}")),
        case("no path", By(400), get("elsewhere.example:80")),
        case("a star", By(400), request("OPTIONS *", "", "")),
        case("a tunnel", By(400), request("CONNECT elsewhere.example:80", "", "")),
        case("a fragment", AsCouch, get("/{db}#fragment")),
    ]
}

fn compressed() -> Vec<Case> {
    let whole = gzip(DOCUMENT.as_bytes());
    let bomb = |before: &str, behind: &str| gzip(long(before, 100 << 20, behind).as_bytes());
    let to = "PUT /{db}/todo-item:zip:v:1";
    vec![
        case(
            "what is not compressed as it says",
            AsCouch,
            zipped(to, DOCUMENT.as_bytes()),
        ),
        case(
            "half of what was compressed",
            AsCouch,
            zipped(to, &whole[..whole.len() - 9]),
        ),
        case(
            "another compression",
            AsCouch,
            sent(to, "Content-Encoding: br\r\n", DOCUMENT),
        ),
        case(
            "100 MB in a hundredth",
            AsCouch,
            zipped(to, &bomb(r#"{"title":""#, r#"","isDone":false}"#)),
        ),
        case(
            "100 MB in a batch",
            AsCouch,
            zipped(
                "POST /{db}/_bulk_docs",
                &bomb(
                    r#"{"docs":[{"_id":"todo-item:bomb:v:1","title":""#,
                    r#"","isDone":false}]}"#,
                ),
            ),
        ),
        case(
            "a selector of 100 MB",
            AsCouch,
            sent(
                "POST /{db}/_changes?filter=_selector",
                "App-Version: todo-app@3.0.0\r\nContent-Encoding: gzip\r\n",
                bomb(r#"{"selector":{"a":""#, r#""}}"#),
            ),
        ),
    ]
}
