//! What a lens costs, without any transport: `cargo bench --bench lens`.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails may panic")]
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

#[path = "lens/documents.rs"]
mod documents;

use std::hint::black_box;

use chesterfield::{
    config::{Config, Overrides, Schemas},
    couch::{Document, Fields, Rev},
    fanout,
    lens::{Lens, LensFile, Made, Put},
    reconcile::{Body, Entity, reconcile},
    schema::{ClassId, ClassName, Direction},
};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use documents::Size;

/// Every class that the lenses below name.
const CLASSES: [&str; 4] = ["todo-item@1", "todo-item@2", "todo-item@3", "todo-item-status@1"];
const SECOND: ClassId = ClassId(1);
const THIRD: ClassId = ClassId(2);
const STATUS: ClassId = ClassId(3);

const RENAME: &str = "
old: todo-item@1
new: todo-item@2
steps: [rename: { from: title, to: name }]
";
const ADD: &str = "
old: todo-item@2
new: todo-item@3
steps: [add: { field: group, value: default }]
";
const CONVERT: &str = "
old: todo-item@1
new: todo-item@2
steps: [convert: { field: isImportant, values: [[true, high], [false, low]] }]
";
const SPLIT: &str = include_str!("../schemas/lenses/todo-item-1-to-2.yaml");

fn lens(yaml: &str) -> Lens {
    let file: LensFile = serde_saphyr::from_str(yaml).unwrap();
    let look_up = |name: &ClassName| CLASSES.iter().position(|class| *class == name.to_string()).map(ClassId);
    file.compile(&look_up).unwrap()
}

fn parse(text: &str) -> Document {
    serde_json::from_str(text).unwrap()
}

/// A document upwards, from `source` into `old`.
fn put(lens: &Lens, target: ClassId, source: &Fields, old: Option<&Fields>) -> Document {
    let put = Put {
        to: Direction::Up,
        target,
        key: "k",
        sources: &[Some(source)],
        old,
    };
    let Ok(Made::Document(fields)) = lens.put(&put) else {
        panic!("the lens makes no document");
    };
    Document {
        fields,
        ..Document::default()
    }
}

fn write(to: &mut Vec<u8>, document: &Document) {
    serde_json::to_writer(to, document).unwrap();
}

/// One version of one document, with the reading of JSON text and without.
fn versions(c: &mut Criterion) {
    let cases: [(&str, Lens, &[ClassId]); 4] = [
        ("rename", lens(RENAME), &[SECOND]),
        ("add", lens(ADD), &[THIRD]),
        ("convert", lens(CONVERT), &[SECOND]),
        ("split into two", lens(SPLIT), &[SECOND, STATUS]),
    ];
    for size in Size::ALL {
        let text = size.text(&[]);
        let source = parse(&text);
        let mut buffer = Vec::with_capacity(8 << 10);
        let mut group = c.benchmark_group(size.name());
        group.bench_function("yardstick/Value from text to text", |b| {
            b.iter(|| {
                buffer.clear();
                let value: serde_json::Value = serde_json::from_str(black_box(&text)).unwrap();
                serde_json::to_writer(&mut buffer, &value).unwrap();
            });
        });
        group.bench_function("read", |b| b.iter(|| parse(black_box(&text))));
        for (name, lens, targets) in &cases {
            let all = |buffer: &mut Vec<u8>, source: &Document, olds: &[Document]| {
                buffer.clear();
                for (n, &target) in targets.iter().enumerate() {
                    let old = olds.get(n).map(|old| &old.fields);
                    write(buffer, &put(lens, target, &source.fields, old));
                }
            };
            let olds: Vec<String> = targets
                .iter()
                .map(|&target| serde_json::to_string(&put(lens, target, &source.fields, None)).unwrap())
                .collect();
            let read_olds: Vec<Document> = olds.iter().map(|old| parse(old)).collect();
            group.bench_function(BenchmarkId::new(*name, "put, write"), |b| {
                b.iter(|| all(&mut buffer, black_box(&source), &[]));
            });
            group.bench_function(BenchmarkId::new(*name, "put into an old one, write"), |b| {
                b.iter(|| all(&mut buffer, black_box(&source), &read_olds));
            });
            group.bench_function(BenchmarkId::new(*name, "read, put, write"), |b| {
                b.iter(|| all(&mut buffer, &parse(black_box(&text)), &[]));
            });
            group.bench_function(BenchmarkId::new(*name, "read both, put into the old one, write"), |b| {
                b.iter(|| {
                    let olds: Vec<Document> = olds.iter().map(|old| parse(black_box(old))).collect();
                    all(&mut buffer, &parse(black_box(&text)), &olds);
                });
            });
        }
        let (rename, add) = (lens(RENAME), lens(ADD));
        group.bench_function("three versions/read the first, put and write two", |b| {
            b.iter(|| {
                buffer.clear();
                let second = put(&rename, SECOND, &parse(black_box(&text)).fields, None);
                let third = put(&add, THIRD, &second.fields, None);
                write(&mut buffer, &second);
                write(&mut buffer, &third);
            });
        });
        group.finish();
    }
}

/// The hashes of a todo's revisions, newest first.
const HISTORY: [&str; 2] = ["917fa2381192822767f010b95b45325b", "0123456789abcdef0123456789abcdef"];

/// An entity as it was read: its documents, each with its text.
type Read = Vec<(String, String)>;

fn entity(schemas: &Schemas, read: &Read) -> Entity {
    let (class, key) = schemas.registry.classify(documents::ID).unwrap();
    let mut entity = Entity::new(&schemas.registry, class, key).unwrap();
    for (id, text) in read {
        let document = parse(text);
        let path = document.revisions.clone();
        fanout::insert(&mut entity, id, &path, Body::Live(document.into()));
    }
    entity
}

/// What a fan-out does with one entity between the answer it reads and the request it writes: all documents of a todo.
fn entities(c: &mut Criterion) {
    let schemas = Config::load(&Overrides::default()).ok().unwrap().schemas;
    for size in Size::ALL {
        let new = vec![(documents::ID.to_owned(), size.text(&HISTORY[1..]))];
        let derived = reconcile(&schemas.registry, &schemas.lenses, &mut entity(&schemas, &new)).writes;
        let siblings = derived
            .iter()
            .map(|write| (write.id.clone(), serde_json::to_string(write).unwrap()));
        let edited = [(documents::ID.to_owned(), size.text(&HISTORY))]
            .into_iter()
            .chain(siblings)
            .collect();
        let mut group = c.benchmark_group(format!("entity, {}", size.name()));
        let mut buffer = Vec::with_capacity(32 << 10);
        for (name, read, written) in [
            ("a new todo: 1 read, 3 written", new, 3),
            ("an edit: 4 read, 3 written", edited, 3),
        ] {
            group.bench_function(name, |b| {
                b.iter(|| {
                    buffer.clear();
                    let mut entity = entity(&schemas, black_box(&read));
                    let outcome = reconcile(&schemas.registry, &schemas.lenses, &mut entity);
                    assert_eq!(outcome.writes.len(), written);
                    for write in &outcome.writes {
                        serde_json::to_writer(&mut buffer, write).unwrap();
                    }
                });
            });
        }
        group.finish();
    }
}

/// One document in conflict, with a history of its own for each branch behind the fork.
fn conflicts(c: &mut Criterion) {
    let schemas = Config::load(&Overrides::default()).ok().unwrap().schemas;
    let text = Size::ALL[0].text(&HISTORY[1..]);
    let mut group = c.benchmark_group("conflicts, reconciled");
    group.sample_size(10);
    for (revs, branches, fork) in [(1000_u64, 50_u64, 1_u64), (1000, 50, 990), (2, 1000, 1)] {
        let mut conflict = entity(&schemas, &Vec::new());
        for branch in 1..=branches {
            let hash = |n| {
                format!(
                    "{:016x}{n:016x}",
                    if n <= fork {
                        0
                    } else {
                        branch.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    }
                )
            };
            let path: Vec<Rev> = (1..=revs).rev().map(|n| Rev::new(n, &hash(n))).collect();
            fanout::insert(&mut conflict, documents::ID, &path, Body::Live(parse(&text).into()));
        }
        group.bench_function(
            format!("{branches} branches of {revs} revisions, forked at {fork}"),
            |b| {
                b.iter_batched(
                    || conflict.clone(),
                    |mut conflict| {
                        reconcile(&schemas.registry, &schemas.lenses, &mut conflict)
                            .writes
                            .len()
                    },
                    BatchSize::LargeInput,
                );
            },
        );
    }
    group.finish();
}

criterion_group!(benches, versions, entities, conflicts);
criterion_main!(benches);
