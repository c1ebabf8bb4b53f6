//! What is run once, and that no call leaves anything in it for the next.

use super::{super::module::Module, *};

#[test]
fn modules_without_a_place_for_state_are_still() {
    for text in [
        "export const up = () => null; export const down = up;",
        "export function up() { let n = 0; n += 1; const m = new Map(); return null } export { up as down };",
        "const UNITS = { kg: 1000, g: 1, all: ['kg', 'g'], of(unit) { return this[unit] } }; let unused; var a = 1, b = -a;",
        "const WORDS = / +/iu, DAY = 24 * 60 * 60, text = `${DAY} s`, none = void 0, one = DAY > 3 ? WORDS : null ?? 1;",
        "export default (a) => a",
        "import { a } from './a.js'; export * from './b.js'; export default function named() { return a }",
        "const keys = Object.keys, pi = Math.PI; function* each() { yield 1 } async function later() {}",
    ] {
        assert!(Module::parse(text).unwrap().is_still(), "{text}");
    }
    for text in [
        "let n = 0; export const up = () => n++;",
        "var n = 0; export const up = () => { n = 1 };",
        "let n = 0; export const up = () => { ({ n } = { n: 1 }) };",
        "let n = 0; export const up = () => { ({ m: [n] } = { m: [1] }) };",
        "let n = 0; export const up = () => { [...n] = [1] };",
        "let n = 0; export const up = () => { for (n of [1]); };",
        "let n = 0; export const up = () => { for (n in { a: 1 }); };",
        "let n = 0; export const up = () => { n ||= 1 };",
        "function up() { up = null }",
        "function f() {} export const up = () => { [f] = [1] };",
        "const seen = new Map();",
        "const next = (() => { let n = 0; return () => ++n })();",
        "const each = [1].values();",
        "const pattern = /a/g;",
        "const pattern = /a/y;",
        "const list = [...'ab'];",
        "const o = { ...{} };",
        "const o = { get next() { let n = 0; return () => ++n } };",
        "const o = { set next(to) {} };",
        "const o = { ['a' + 1]: 1 };",
        "const o = { toString() { let n = 0; o.next = () => ++n; return '' } }; const text = `${o}`;",
        "const o = { valueOf() { return 1 } }; const n = o + 1;",
        "var n = 1; var n = { toString() { return '' } }; const text = `${n}`;",
        "const o = {}; o.n = 1;",
        "class A { static n = 0 }",
        "export class A { #n = 0 }",
        "export default class {}",
        "export const A = class { static #n = 0 };",
        "const up = () => { arguments[0] = 1 };",
        "const { a } = { a: 1 };",
        "const [a] = [1];",
        "const tagged = String.raw`a`;",
        "if (true) { var n = {} }",
        "for (const n of []) {}",
        "const later = await null;",
        "const loaded = import('./a.js');",
        "label: { }",
        "'a'.length;",
    ] {
        assert!(!Module::parse(text).unwrap().is_still(), "{text}");
    }
}

/// Each answers how often it was called, as far as it can tell.
#[test]
fn a_call_finds_nothing_of_another() {
    for (text, expected) in [
        // Frozen where it stands, changed where it is the call's own.
        ("function up_() { up_.n = (up_.n ?? 0) + 1; return { 'a@2': { n: up_.n } } }", 1),
        ("const o = { n: 0 }; function up_() { o.n += 1; return { 'a@2': { n: o.n } } }", 1),
        ("const o = { p: { n: 0 } }; function up_() { o.p.n += 1; return { 'a@2': { n: o.p.n } } }", 1),
        ("const l = []; function up_() { l.push(1); return { 'a@2': { n: l.length } } }", 1),
        ("const l = [[]]; function up_() { l[0].push(1); return { 'a@2': { n: l[0].length } } }", 1),
        ("const f = () => {}; function up_() { f.n = (f.n ?? 0) + 1; return { 'a@2': { n: f.n } } }", 1),
        ("function* g() {} function up_() { g.prototype.n = (g.prototype.n ?? 0) + 1; return { 'a@2': { n: g.prototype.n } } }", 1),
        ("function F() {} function up_() { F.prototype.n = (new F().n ?? 0) + 1; return { 'a@2': { n: new F().n } } }", 1),
        ("const o = { f() {} }; function up_() { o.f.n = (o.f.n ?? 0) + 1; return { 'a@2': { n: o.f.n } } }", 1),
        ("const p = /a/; function up_() { p.lastIndex += 1; return { 'a@2': { n: p.lastIndex } } }", 1),
        // What is tried and refused leaves nothing.
        ("const o = { n: 1 }; function up_() { try { o.n += 1 } catch {} return { 'a@2': { n: o.n } } }", 1),
        ("const p = /a/; function up_() { try { p.compile('b') } catch {} return { 'a@2': { n: p.test('b') ? 2 : 1 } } }", 1),
        ("const o = {}; const up_ = () => { class S extends (function (o) { return o }) { #n = 1; static has(o) { return #n in o } }
          const had = S.has(o); try { new S(o) } catch {} return { 'a@2': { n: had ? 2 : 1 } } };", 1),
        ("const o = {}; function up_() { Object.setPrototypeOf(o, { n: (o.n ?? 0) + 1 }); return { 'a@2': { n: o.n } } }", 1),
        ("const o = { __proto__: { n: 0 } }; function up_() { const p = Object.getPrototypeOf(o); p.n += 1; return { 'a@2': { n: p.n } } }", 1),
        ("const tag = (parts) => parts; const f = () => tag`a`; function up_() { const t = f(); try { t.n = (t.n ?? 0) + 1 } catch {} return { 'a@2': { n: t.n ?? 1 } } }", 1),
        // A function of a module has no `this`.
        ("const up_ = () => { const n = this === undefined ? 1 : this.n = (this.n ?? 0) + 1; return { 'a@2': { n } } };", 1),
        ("function up_() { const n = this === undefined ? 1 : this.n = (this.n ?? 0) + 1; return { 'a@2': { n } } };", 1),
        // Run anew.
        ("const up_ = () => { const n = (arguments.n ?? 0) + 1; arguments.n = n; return { 'a@2': { n } } };", 1),
        ("let n = 0; function up_() { n += 1; return { 'a@2': { n } } }", 1),
        ("function f() { return 0 } function up_() { const n = f() + 1; f = () => n; return { 'a@2': { n } } }", 1),
    ] {
        let script = script(&format!("{text}\nexport {{ up_ as up, up_ as down }};"));
        for _ in 0..3 {
            assert_eq!(text_of(&script), format!("{{\"n\":{expected}}}"), "{text}");
        }
    }
}

fn text_of(script: &Script) -> String {
    text(up(script, "{}"))
}

#[test]
fn what_is_imported_is_still_if_all_of_it_is() {
    let up = "import { next, table } from './b.js'; import * as b from './b.js';
              export const up = () => ({ 'a@2': { n: next(), m: table.m, l: b.table.l } }), down = up;";
    for (imported, expected) in [
        (
            "export const table = { m: 1, l: [2] }; export const next = () => 1;",
            r#"{"n":1,"m":1,"l":[2]}"#,
        ),
        (
            "let n = 0; export const table = { m: 1, l: [2] }; export const next = () => { table.m += 1; return n += 1 };",
            r#"{"n":1,"m":2,"l":[2]}"#,
        ),
        (
            "export const table = { m: 1, l: [2] }; export const next = () => { table.l.push(1); table.m += 1; return 1 };",
            r#"{"n":1,"m":2,"l":[2,1]}"#,
        ),
    ] {
        let script = load(&[("a.js", up), ("b.js", imported)]).unwrap();
        for _ in 0..3 {
            assert_eq!(text(super::up(&script, "{}")), expected, "{imported}");
        }
    }
}

#[test]
fn patterns_that_are_kept_work() {
    let script = script(
        "const WORDS = / +/, YEAR = /^(\\d{4})-/;
         export const up = ({ 'a@1': { t, d } }) => ({ 'a@2': { words: t.split(WORDS), first: t.replace(WORDS, '_'), at: t.search(WORDS),
           year: YEAR.exec(d)[1], is: YEAR.test(d), found: t.match(WORDS)[0] } }), down = up;",
    );
    for _ in 0..2 {
        assert_eq!(
            text(up(&script, r#"{"t":"a b  c","d":"2020-01"}"#)),
            r#"{"words":["a","b","c"],"first":"a_b  c","at":1,"year":"2020","is":true,"found":" "}"#
        );
    }
}

#[test]
fn an_error_that_is_the_scripts_own_is_told_in_its_place() {
    let script = script("const f = (o) => o.x.y;\nexport const up = (docs) => f(docs), down = up;");
    for _ in 0..2 {
        assert_eq!(
            text_of(&script),
            "lenses/a.js:1:18: TypeError: cannot read property 'y' of undefined"
        );
    }
}
