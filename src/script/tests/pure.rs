//! The same documents make the same.

use super::*;

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
    assert_eq!(value("/(a)/.test('a') && RegExp.$1 === undefined"), r#"{"v":true}"#);
    // What is one's own can be changed, although its prototype is frozen.
    let own = "class Odd extends Error { constructor(m) { super(m); this.name = 'Odd'; } }
        const o = {}; o.toString = () => 'mine'; const e = new Odd('x'); function F() {} F.prototype.toString = () => 'F';
        return { 'a@2': { v: [`${o}`, e.name, `${e}`, `${new F()}`] } }";
    assert_eq!(text(up(&body(own), "{}")), r#"{"v":["mine","Odd","Odd: x","F"]}"#);
}
