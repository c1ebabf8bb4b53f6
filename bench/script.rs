//! What a script costs, beside reading and writing the same document as JSON: `cargo bench --bench script`.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails may panic")]
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

#[path = "lens/documents.rs"]
mod documents;

use std::hint::black_box;

use chesterfield::{
    couch::{Document, Fields},
    schema::Direction,
    script::{Answer, Call, Limits, Script},
};
use criterion::{Criterion, criterion_group, criterion_main};
use documents::Size;

/// What scripts do: rename a field, look into what is nested, build all of it anew.
const CASES: [(&str, &str); 3] = [
    (
        "rename",
        "const { title, ...rest } = docs['todo-item@1'];
         return { 'todo-item@2': { name: title, ...rest, group: existing['todo-item@2']?.group ?? key } };",
    ),
    (
        "look into",
        "const { comments = [], ...rest } = docs['todo-item@1'];
         return { 'todo-item@2': { ...rest, comments: comments.map(({ likes, ...comment }) => ({ ...comment, stars: likes })) } };",
    ),
    (
        "build anew",
        "const anew = (value) => Array.isArray(value) ? value.map(anew) : value !== null && typeof value === 'object'
           ? Object.fromEntries(Object.entries(value).map(([name, member]) => [name, anew(member)])) : value;
         return { 'todo-item@2': anew(docs['todo-item@1']) };",
    ),
];

fn script(body: &str) -> Script {
    let text = format!("export function up(docs, existing, {{ key }}) {{\n{body}\n}}\nexport const down = up;");
    let read = |_: &str| Ok(text.clone());
    Script::load("bench.js", &read, Limits::default()).unwrap()
}

fn run(script: &Script, source: &Fields, existing: Option<&Fields>) -> Fields {
    let call = Call {
        way: Direction::Up,
        key: "0191b7c4",
        docs: &[("todo-item@1", source)],
        target: "todo-item@2",
        existing,
    };
    match script.call(&call) {
        Ok(Answer::Document(fields)) => fields,
        other => panic!("{other:?}"),
    }
}

/// From fields to fields, into nothing and into a document that is there; and the yardstick, from text to text.
fn scripts(c: &mut Criterion) {
    for size in Size::ALL {
        let text = size.text(&[]);
        let document: Document = serde_json::from_str(&text).unwrap();
        let mut group = c.benchmark_group(size.name());
        group.bench_function("yardstick/Value from text to text", |b| {
            b.iter(|| {
                let value: serde_json::Value = serde_json::from_str(black_box(&text)).unwrap();
                serde_json::to_string(&value).unwrap()
            });
        });
        for (name, body) in CASES {
            let script = script(body);
            let old = run(&script, &document.fields, None);
            for (into, old) in [("", None), (", into an old one", Some(&old))] {
                group.bench_function(format!("script/{name}{into}"), |b| {
                    b.iter(|| run(&script, black_box(&document.fields), old));
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, scripts);
criterion_main!(benches);
