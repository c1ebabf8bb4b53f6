//! Scripts, from texts to texts.

mod faults;
mod pure;
mod still;
mod values;

use std::collections::HashMap;

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
