//! How a value was written is not lost.

use proptest::prelude::*;

use super::*;

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
    let twice = body("return { 'a@2': { v: docs['a@1'].o.a } }");
    assert_eq!(text(up(&twice, r#"{"o":{"a":1,"b":2,"a":3}}"#)), r#"{"v":3}"#);
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
        (
            "Object.assign([], { length: 2 ** 32 - 1 })",
            "at `v.0` undefined, which JSON does not have",
        ),
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

/// What is small is read with what it stands in, what is large or deep when it is looked into: neither can be told from the other.
#[test]
fn what_is_nested_keeps_its_text_and_is_read_only() {
    let deep = |text: &str| format!("{}{text}{}", "[ ".repeat(20), " ]".repeat(20));
    let large = format!(
        r#"{{"s":"{}", "z":1.0, "a":[ 1 ,{{"b" :2.50}}],"a":[ 1.0,{{"b" :2.50}}]}}"#,
        "x".repeat(2000)
    );
    let small = r#"{"s":"\u0078", "z":1.0, "a":[ 1 ,{"b" :2.50}],"a":[ 1.0,{"b" :2.50}]}"#;
    for nested in [small, large.as_str(), &deep(small), &deep(&large)] {
        let doc = format!(r#"{{"o":{{"l":[ {nested},{nested} ], "p":{nested}}}}}"#);
        let give = |expression: &str| {
            let find = "const find = (v) => Array.isArray(v) && v.length === 1 ? find(v[0]) : v;";
            let script = body(&format!(
                "{find} const {{ o }} = docs['a@1']; return {{ 'a@2': {{ v: {expression} }} }};"
            ));
            text(up(&script, &doc))
        };
        let whole = body("return { 'a@2': docs['a@1'].o }");
        let fields = format!(r#"{{"l":[ {nested},{nested} ],"p":{nested}}}"#);
        assert_eq!(text(up(&whole, &doc)), fields);
        assert_eq!(give("o.p"), format!(r#"{{"v":{nested}}}"#));
        assert_eq!(give("o.l[1]"), format!(r#"{{"v":{nested}}}"#));
        assert_eq!(give("o.l"), format!(r#"{{"v":[ {nested},{nested} ]}}"#));
        assert_eq!(give("[...o.l.slice(1)]"), format!(r#"{{"v":[{nested}]}}"#));
        assert_eq!(
            give("{ ...o, p: 7 }"),
            format!(r#"{{"v":{{"l":[ {nested},{nested} ],"p":7}}}}"#)
        );
        assert_eq!(give("find(o.p).a"), r#"{"v":[ 1.0,{"b" :2.50}]}"#);
        assert_eq!(give("[...find(o.l[0]).a]"), r#"{"v":[1.0,{"b" :2.50}]}"#);
        assert_eq!(give("{ ...find(o.p).a[1] }"), r#"{"v":{"b":2.50}}"#);
        assert_eq!(give("Object.keys(find(o.p)).join()"), r#"{"v":"s,z,a"}"#);
        assert_eq!(give("o.p === o.p && `at ${o.l.indexOf(o.l[1])}`"), r#"{"v":"at 1"}"#);
        for change in [
            "(find(o.p).z = 3)",
            "(find(o.p).new = 3)",
            "(delete find(o.p).z)",
            "Object.defineProperty(find(o.p), 'z', { value: 3 })",
            "Object.defineProperty(find(o.p), 'new', { value: 3 })",
            "Object.assign(find(o.l[0]), { z: 3 })",
            "find(o.p).a.push(1)",
            "find(o.p).a.reverse()",
            "(find(o.p).a.length = 0)",
            "(find(o.p).a[0] = 3)",
            "(find(o.p).a[1].b = 3)",
            "(delete find(o.p).a[0])",
            "o.l.fill(1)",
        ] {
            let got = give(change);
            assert!(got.contains("documents are"), "{change}: {got}");
        }
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
