use std::{collections::HashMap, time::Instant};

use proptest::prelude::*;

use super::*;

/// A script of one file.
fn script(text: &str) -> Script {
    load(&[("lenses/a.js", text)]).unwrap_or_else(|flaws| panic!("{flaws:?}"))
}

/// A script of several files, the first its own.
fn load(files: &[(&str, &str)]) -> Result<Script, Vec<FileFlaw>> {
    let texts: HashMap<&str, &str> = files.iter().copied().collect();
    let read = |file: &str| {
        texts
            .get(file)
            .map(|text| (*text).to_owned())
            .ok_or_else(|| "there is none".to_owned())
    };
    Script::load(files[0].0, &read, Limits::default())
}

fn fields(text: &str) -> Fields {
    serde_json::from_str(text).unwrap()
}

fn up(script: &Script, doc: &str) -> Result<Answer, Fault> {
    call(script, Direction::Up, doc, None)
}

fn call(script: &Script, way: Direction, doc: &str, existing: Option<&str>) -> Result<Answer, Fault> {
    let doc = fields(doc);
    let existing = existing.map(fields);
    let (near, target) = match way {
        Direction::Up => ("a@1", "a@2"),
        Direction::Down => ("a@2", "a@1"),
    };
    script.call(&Call {
        way,
        key: "k",
        docs: &[(near, &doc)],
        target,
        existing: existing.as_ref(),
    })
}

fn text(answer: Result<Answer, Fault>) -> String {
    match answer {
        Ok(Answer::Document(fields)) => serde_json::to_string(&fields).unwrap(),
        Ok(Answer::Nothing) => "nothing".to_owned(),
        Ok(Answer::NotReady) => "not ready".to_owned(),
        Err(fault) => fault.to_string(),
    }
}

/// A script whose `up` has this body.
fn body(body: &str) -> Script {
    script(&format!(
        "export function up(docs, existing, {{ key }}) {{\n{body}\n}}\nexport const down = up;"
    ))
}

/// A script whose `up` answers a field of this value.
fn value(expression: &str) -> String {
    let script = body(&format!(
        "const doc = docs['a@1']; return {{ 'a@2': {{ v: {expression} }} }};"
    ));
    text(up(
        &script,
        r#"{"n":1.0,"big":9007199254740993,"o":{"z":1.0, "a":2},"l":[1,[2.0]],"s":"\u00e9","m":1}"#,
    ))
}

#[test]
fn makes_documents_both_ways_with_key_and_what_was() {
    let script = script(
        "export const up = (docs, existing, { key }) => ({ 'a@2': { ...docs['a@1'], key, had: existing['a@2']?.had ?? null } });
         export const down = ({ 'a@2': { key, had, ...rest } }) => ({ 'a@1': rest });",
    );
    assert_eq!(text(up(&script, r#"{"t":"x"}"#)), r#"{"t":"x","key":"k","had":null}"#);
    let kept = call(&script, Direction::Up, r#"{"t":"x"}"#, Some(r#"{"had":7}"#));
    assert_eq!(text(kept), r#"{"t":"x","key":"k","had":7}"#);
    assert_eq!(
        text(call(&script, Direction::Down, r#"{"t":"x","key":"k","had":7}"#, None)),
        r#"{"t":"x"}"#
    );
}

#[test]
fn null_is_no_document_or_not_ready() {
    assert_eq!(text(up(&body("return null"), "{}")), "not ready");
    assert_eq!(text(up(&body("return { 'a@2': null }"), "{}")), "nothing");
    let wrong = |text_of: &str| text(up(&body(text_of), "{}"));
    assert_eq!(
        wrong("return { 'a@3': {} }"),
        "lenses/a.js: `up` answers `a@3`, but no `a@2`: null says that there is none"
    );
    assert_eq!(
        wrong("return"),
        "lenses/a.js: `up` answers undefined instead of documents: `{ \"a@2\": { … } }`, or null"
    );
    assert_eq!(
        wrong("return { 'a@2': 3 }"),
        "lenses/a.js: `up` answers a@2 with a int instead of an object"
    );
    assert_eq!(
        wrong("return { 'a@2': { _id: 'x' } }"),
        "lenses/a.js: `up` answers a@2 with a member `_id`: what begins with an underscore is not a script's to say"
    );
}

#[test]
fn what_is_not_touched_keeps_its_text() {
    let doc = r#"{"n":1.0,"big":9007199254740993,"exp":1e2,"neg":-0.0,"zero":-0,"far":1e400,"o":{"z":1.0, "a":2,"10":1,"2":[ ]},"s":"\u00e9\/","half":"\ud800","dec":0.12345678901234567890,"t":true,"u":null}"#;
    let same = body("return { 'a@2': docs['a@1'] }");
    assert_eq!(text(up(&same, doc)), doc);
    let spread = body("return { 'a@2': { ...docs['a@1'] } }");
    assert_eq!(text(up(&spread, doc)), doc);
    let names = r#"{"a\u0000b":1,"o":{"a\u0000c":1,"a":2,"😀":3}}"#;
    let anew = body("const doc = docs['a@1']; return { 'a@2': { ...doc, o: { ...doc.o } } }");
    assert_eq!(text(up(&anew, names)), names);
    // Looked into, and still the same.
    let seen = body("JSON.stringify(docs['a@1'].o); return { 'a@2': { ...docs['a@1'] } }");
    assert_eq!(text(up(&seen, doc)), doc);
}

#[test]
fn what_is_moved_keeps_what_it_says() {
    assert_eq!(value("doc.o"), r#"{"v":{"z":1.0, "a":2}}"#);
    assert_eq!(
        value("[doc.o.z, doc.l[1]]"),
        r#"{"v":[1,[2.0]]}"#,
        "1 stands there in another spelling, too"
    );
    assert_eq!(value("doc.big"), r#"{"v":9007199254740993}"#);
    assert_eq!(value("doc.big + 1n"), r#"{"v":9007199254740994}"#);
    assert_eq!(value("doc.s"), r#"{"v":"é"}"#);
    assert_eq!(value("doc.l[1][0]"), r#"{"v":2.0}"#);
    assert_eq!(value("{ ...doc.o, b: 3 }"), r#"{"v":{"z":1.0,"a":2,"b":3}}"#);
    assert_eq!(value("doc.l.map((x) => x)"), r#"{"v":[1,[2.0]]}"#);
}

#[test]
fn values_are_written_as_json() {
    for (expression, expected) in [
        (
            "[1, 1.5, -0, 1e21, 2 ** 31, 2 ** 53, 1e-7, 123456789012345680000]",
            "[1,1.5,0,1e+21,2147483648,9007199254740992,1e-7,123456789012345680000]",
        ),
        ("'é\\n\\ud83d\\ude00'", "\"é\\n😀\""),
        ("{ a: undefined, b: null }", "{\"b\":null}"),
        (
            "new Date(Date.UTC(2020, 0, 1)).toISOString()",
            "\"2020-01-01T00:00:00.000Z\"",
        ),
        ("JSON.parse('{\"__proto__\":1}')", "{\"__proto__\":1}"),
        ("Object.isFrozen(Array.prototype)", "true"),
    ] {
        assert_eq!(value(expression), format!("{{\"v\":{expected}}}"), "{expression}");
    }
    for (expression, what) in [
        ("NaN", "at `v` NaN, which JSON does not have"),
        ("{ a: [() => 1] }", "at `v.a.0` a function, which JSON does not have"),
        ("new Map()", "at `v` a Map, which JSON does not have"),
        (
            "['😀'.slice(0, 1)]",
            "at `v.0` half of a character: cut texts as in `[...text].slice(0, 9).join('')`",
        ),
        (
            "{ ['😀'.slice(0, 1)]: 1 }",
            "at `v` a name that is half of a character: cut texts as in `[...text].slice(0, 9).join('')`",
        ),
        ("new Date(0)", "at `v` a Date, which JSON does not have"),
        (
            "(() => { const a = []; a.push(a); return a })()",
            "what is nested deeper than 100: does it hold itself?",
        ),
    ] {
        let got = value(expression);
        assert!(got.ends_with(what), "{expression}: {got}");
    }
}

#[test]
fn documents_are_read_only() {
    for expression in [
        "(doc.o.z = 3)",
        "doc.l.push(1)",
        "(delete doc.o.z)",
        "Object.defineProperty(doc.o, 'x', { value: 1 })",
        "Object.setPrototypeOf(doc.o, null)",
        "doc.l.reverse()",
    ] {
        let got = value(expression);
        assert!(got.contains("documents are read-only"), "{expression}: {got}");
    }
    assert!(
        value("(doc.n = 3)").contains("'n' is read-only"),
        "{}",
        value("(doc.n = 3)")
    );
    assert!(
        value("(doc.of_its_own = 3)").contains("not extensible"),
        "{}",
        value("(doc.of_its_own = 3)")
    );
}

#[test]
fn nothing_tells_when_or_where_it_runs() {
    for expression in [
        "new Date()",
        "Date()",
        "Date.now()",
        "Math.random()",
        "eval('1')",
        "(0, eval)('1')",
        "Function('return 1')()",
        "(() => {}).constructor('return 1')()",
        "(function* () {}).constructor('return 1')()",
        "(async () => {}).constructor('return 1')()",
        "performance.now()",
        "new WeakRef({})",
        "new FinalizationRegistry(() => {})",
        "new SharedArrayBuffer(1)",
        "Atomics",
        "setTimeout",
        "queueMicrotask",
        "Promise",
        "Proxy",
        "gc()",
        "navigator",
        "new doc.o.constructor.constructor('return 1')()",
        "new (new Date(0)).constructor()",
    ] {
        let got = value(expression);
        assert!(got.starts_with("lenses/a.js:2:"), "{expression}: {got}");
    }
    for (expression, expected) in [
        ("new Date('2020-01-01T12:00').getTime()", "1577880000000"),
        ("new Date(2020, 0, 1).getTime()", "1577836800000"),
        ("new Date(1577836800000).getHours()", "0"),
        ("String(new Date(0))", "\"Thu, 01 Jan 1970 00:00:00 GMT\""),
        ("new Date('Jan 1 2020').getTime() || 'none'", "\"none\""),
        ("new Date(0).getTimezoneOffset()", "0"),
        ("new Date(0) instanceof Date", "true"),
    ] {
        assert_eq!(value(expression), format!("{{\"v\":{expected}}}"), "{expression}");
    }
}

#[test]
fn nothing_outlives_a_call() {
    let counting = script(
        "let n = 0; const seen = new Map(); const next = (() => { let m = 0; return () => ++m })();
         const pattern = /a/g; function up_(docs) { n += 1; seen.set(seen.size, n); pattern.test('aa');
         return { 'a@2': { n, size: seen.size, next: next(), last: pattern.lastIndex } } }
         export { up_ as up, up_ as down };",
    );
    for _ in 0..3 {
        assert_eq!(text(up(&counting, "{}")), r#"{"n":1,"size":1,"next":1,"last":1}"#);
    }
    for change in [
        "globalThis.x = 1",
        "Array.prototype.x = 1",
        "Object.prototype.x = 1",
        "Object.prototype.toString = 1",
        "Math.x = 1",
        "Map.prototype.get = 1",
        "Object.getPrototypeOf([].values()).next = 1",
        "Object.getPrototypeOf(function* () {}).x = 1",
        "Object.getPrototypeOf((function* () {}).prototype).next = 1",
        "Object.getPrototypeOf(Int8Array).x = 1",
        "Error.stackTraceLimit = 0",
        "Symbol.x = 1",
        "Object.getPrototypeOf('a'.matchAll(/a/g)).x = 1",
        "Object.getPrototypeOf((async () => {})()).x = 1",
        "Object.getPrototypeOf(Object.getPrototypeOf([].values())).x = 1",
        "(() => {}).__proto__.x = 1",
        "Reflect.x = 1",
        "JSON.x = 1",
        "escape.x = 1",
        "Object.getPrototypeOf([].values().map((a) => a)).x = 1",
        "Date.prototype.x = 1",
        "RegExp.prototype.x = 1",
    ] {
        let got = text(up(&body(&format!("{change}; return {{ 'a@2': {{}} }}")), "{}"));
        assert!(got.starts_with("lenses/a.js:2:"), "{change}: {got}");
    }
    // What is one's own can be changed, although its prototype is frozen.
    let own = "class Odd extends Error { constructor(m) { super(m); this.name = 'Odd'; } }
        const o = {}; o.toString = () => 'mine'; const e = new Odd('x'); function F() {} F.prototype.toString = () => 'F';
        return { 'a@2': { v: [`${o}`, e.name, `${e}`, `${new F()}`] } }";
    assert_eq!(text(up(&body(own), "{}")), r#"{"v":["mine","Odd","Odd: x","F"]}"#);
}

#[test]
fn errors_name_the_place_in_the_file() {
    let first = script("export const up = (docs) => docs.x.y; export const down = up;");
    let fault = up(&first, "{}").unwrap_err();
    assert_eq!(
        fault.to_string(),
        "lenses/a.js:1:29: TypeError: cannot read property 'y' of undefined"
    );
    assert_eq!(fault.place(), "lenses/a.js:1:29");
    let files = [
        (
            "lenses/a.js",
            "import { half } from './b/units.js'\nexport function up(docs) { return { 'a@2': { v: half(docs['a@1'].n) } } }\nexport { up as down }",
        ),
        (
            "lenses/b/units.js",
            "// Units\nexport const half = (n) => {\n  if (n === 3) throw new RangeError(`odd: ${n}`)\n  return n / 2\n}",
        ),
    ];
    let several = load(&files).unwrap();
    assert_eq!(text(up(&several, r#"{"n":4}"#)), r#"{"v":2}"#);
    assert_eq!(
        text(up(&several, r#"{"n":3}"#)),
        "lenses/b/units.js:3:45: RangeError: odd: 3"
    );
    assert_eq!(text(up(&body("throw 'up'"), "{}")), "lenses/a.js: throws “up”");
    assert!(
        text(up(
            &script("export async function up() {} export const down = up"),
            "{}"
        ))
        .contains("answers a promise")
    );
    let waiting = body("(async () => { await 1 })(); return null");
    assert!(text(up(&waiting, "{}")).contains("asynchronous"));
}

#[test]
fn flaws_are_told_before_anything_runs() {
    for (files, expected) in [
        (
            vec![("a.js", "export const up = 1 +;")],
            "a.js line 1, column 22: is no JavaScript: Unexpected token",
        ),
        (vec![("a.js", "export const up = () => {}")], "a.js : exports no `down`"),
        (
            vec![("a.js", "export const up = 1, down = 2")],
            "a.js : `up` and `down` have to be functions",
        ),
        (
            vec![("a.js", "import x from 'lodash'; export const up = x, down = x")],
            "a.js line 1, column 15: imports `lodash`, which is no file beside it",
        ),
        (
            vec![("a.js", "import x from '../x.js'; export const up = x, down = x")],
            "a.js line 1, column 15: imports `../x.js`, which is outside of the folder of schemas",
        ),
        (
            vec![("a.js", "import x from './x.js'; export const up = x, down = x")],
            "a.js line 1, column 15: imports `./x.js`, which cannot be read: there is none",
        ),
        (
            vec![
                ("a.js", "import { x } from './b.js'; export const up = x, down = x"),
                ("b.js", "export const y = 1"),
            ],
            "a.js line 1, column 19: imports `x`, which b.js does not export",
        ),
        (
            vec![
                ("a.js", "import { x } from './b.js'; export const up = x, down = x"),
                ("b.js", "import './a.js'; export const x = 1"),
            ],
            "b.js line 1, column 8: imports `./a.js`, which imports it in turn",
        ),
        (
            vec![(
                "a.js",
                "const a = 1;\nconst a = 2;\nexport const up = () => {}, down = up",
            )],
            "a.js line 2, column 9: SyntaxError: invalid redefinition of lexical identifier",
        ),
        (
            vec![("a.js", "export const up = () => {}, down = up;\n\nfail()")],
            "a.js line 3, column 1: ReferenceError: fail is not defined",
        ),
        (
            vec![("a.js", "export const up = () => {}, down = up; for (;;) {}")],
            "a.js line 1, column 36: takes longer than 50 ms: does a loop not end?",
        ),
    ] {
        let flaws = load(&files).unwrap_err();
        let told: Vec<String> = flaws
            .iter()
            .map(|flaw| format!("{} {}: {}", flaw.file, flaw.flaw.at, flaw.flaw.what))
            .collect();
        assert_eq!(told, [expected], "{files:?}");
    }
}

#[test]
fn what_is_large_takes_no_more_than_its_share() {
    // Each depth that is looked into holds its text.
    let deep = format!(
        r#"{{"l":{}"{}"{}}}"#,
        "[".repeat(200),
        "x".repeat(1 << 20),
        "]".repeat(200)
    );
    let looking = body("return { 'a@2': { n: JSON.stringify(docs['a@1'].l).length } }");
    let told = text(up(&looking, &deep));
    assert!(told.contains("takes more than 64 MB of memory"), "{told}");
    // Numbers that are written in another way are found without looking through all of them.
    let text_of =
        "export const up = (docs) => ({ 'a@2': { l: docs['a@1'].l.map((n) => n) } }); export const down = up;";
    let limits = Limits {
        time: Duration::from_secs(100),
        ..Limits::default()
    };
    let script = Script::load("a.js", &|_| Ok(text_of.to_owned()), limits).unwrap();
    let numbers: Vec<String> = (0..60_000).map(|n| format!("{n}.0")).collect();
    let numbers = format!(r#"{{"l":[{}]}}"#, numbers.join(","));
    let begun = Instant::now();
    assert_eq!(text(up(&script, &numbers)), numbers);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn what_does_not_end_is_ended() {
    let fine = body("return { 'a@2': {} }");
    for (text_of, expected) in [
        ("for (;;) {}", "takes longer than 50 ms"),
        ("for (;;) { try { for (;;) {} } catch {} }", "takes longer than 50 ms"),
        ("try { for (;;) {} } finally { return null }", "takes longer than 50 ms"),
        ("/^(a+)+$/.test('a'.repeat(50) + 'b')", "takes longer than 50 ms"),
        ("const f = () => f() + 1; f()", "calls itself too deep"),
        ("const l = []; for (;;) l.push('x'.repeat(1000))", "takes"),
        ("let s = 'xy'; for (;;) s += s", "string too long"),
        ("'x'.repeat(2 ** 29)", "takes more than 64 MB of memory"),
        ("new Array(2 ** 32 - 2).indexOf(1)", "a list of more than"),
        (
            "Array.prototype.includes.call({ length: 2 ** 53 - 1 }, 1)",
            "a list of more than",
        ),
        ("new Uint8Array(2 ** 30)", "takes"),
        ("const o = {}; o.o = o; JSON.stringify(o)", "circular reference"),
        (
            "let o = {}; for (let n = 0; n < 1e5; n++) o = { o }; JSON.stringify(o)",
            "takes|too deep",
        ),
        (
            "let o = []; for (let n = 0; n < 60; n++) o = [o, o]; return { 'a@2': { o } }",
            "longer than 50 ms",
        ),
        (
            "return { 'a@2': { get x() { for (;;) {} } } }",
            "takes longer than 50 ms",
        ),
        ("let n = 2n; for (;;) n *= n", "takes|BigInt"),
        ("return { 'a@2': { s: (2n ** 100000n).toString() } }", ""),
        ("RegExp('('.repeat(100000))", ""),
        ("new RegExp('(?:a|b|ab)*c').test('ab'.repeat(1e6))", ""),
        (
            "let f = () => 1; for (let n = 0; n < 1e4; n++) f = f.bind(null); f()",
            "",
        ),
        ("JSON.parse('['.repeat(1e6))", ""),
        (
            "throw { toString() { for (;;) {} }, get message() { for (;;) {} } }",
            "",
        ),
        (
            "const e = new Error(); Object.defineProperty(e, 'message', { get() { for (;;) {} } }); throw e",
            "",
        ),
        ("const e = new Error(); e.stack = null; throw e", ""),
    ] {
        let begun = Instant::now();
        let got = text(up(&body(text_of), r#"{"l":[1]}"#));
        assert!(
            expected.split('|').any(|expected| got.contains(expected)),
            "{text_of}: {got}"
        );
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{text_of}: {:?}",
            begun.elapsed()
        );
        assert_eq!(text(up(&fine, "{}")), "{}", "after {text_of}");
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>()
            .prop_filter("finite", |n| n.is_finite())
            .prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::hash_map("[a-z_0-9é\"]{0,4}", inner, 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Passed on, looked into, or built anew: what comes out is what went in.
    #[test]
    fn any_document_comes_through(members in prop::collection::hash_map("[a-z0-9]{1,3}", json(), 0..6)) {
        let given = serde_json::to_string(&serde_json::Value::Object(members.into_iter().collect())).unwrap();
        let same = body("return { 'a@2': docs['a@1'] }");
        prop_assert!(matches!(up(&same, &given), Ok(Answer::Document(got)) if got.same_as(&fields(&given))));
        let anew = body(
            "const copy = (v) => Array.isArray(v) ? v.map(copy) : v && typeof v === 'object'
               ? Object.fromEntries(Object.entries(v).map(([k, w]) => [k, copy(w)])) : v;
             return { 'a@2': copy(docs['a@1']) }",
        );
        let got = up(&anew, &given);
        prop_assert!(matches!(&got, Ok(Answer::Document(got)) if got.same_as(&fields(&given))), "{} {}", given, text(got));
    }
}
