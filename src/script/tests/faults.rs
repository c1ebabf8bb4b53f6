//! What goes wrong is told, in its place, and ended.

use std::time::Instant;

use super::*;

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
    // What is looked into all at once is ended, too, and catching that is of no use.
    let many = format!(r#"{{"l":[{}{{}}]}}"#, r#"{"a":[{"b":{}}]},"#.repeat(400_000));
    let looking = body("try { docs['a@1'].l.length } catch {} return { 'a@2': {} }");
    let begun = Instant::now();
    let told = text(up(&looking, &many));
    assert!(told.contains("takes longer than 50 ms"), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
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
