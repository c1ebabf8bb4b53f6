//! What lenses that share make of references and of what is embedded.

use super::*;
use crate::script::Script;

const A1: ClassId = ClassId(0);
const A2: ClassId = ClassId(1);
const B: ClassId = ClassId(2);

fn look_up(name: &ClassName) -> Option<ClassId> {
    let classes = ["a@1", "a@2", "b@1", "c@1"];
    classes.iter().position(|class| *class == name.to_string()).map(ClassId)
}

fn file(rest: &str) -> LensFile {
    serde_saphyr::from_str(&format!("{{old: a@1, new: a@2, {rest}}}")).unwrap()
}

fn lens(rest: &str) -> Lens {
    file(rest).compile(&look_up).unwrap()
}

fn flaws(rest: &str) -> String {
    format!("{:?}", file(rest).compile(&look_up).unwrap_err())
}

/// What is made of a source, among these shared documents; none is deleted.
fn made(
    lens: &Lens,
    to: Direction,
    [source, old, before]: [&str; 3],
    documents: &[(&str, Option<&str>)],
) -> Result<String, PutError> {
    let [source, old, before] = [source, old, before].map(|text| (!text.is_empty()).then(|| fields(text)));
    let documents: Vec<(&str, Option<Fields>)> = documents.iter().map(|(key, text)| (*key, text.map(fields))).collect();
    let shared = |class, key: &str| match documents.iter().find(|(named, _)| class == B && *named == key) {
        Some((_, Some(fields))) => Shared::Live(fields),
        Some((_, None)) => Shared::Deleted,
        None => Shared::Missing,
    };
    let others = Others {
        before: before.as_ref(),
        shared: &shared,
    };
    let put = Put {
        to,
        target: if to == Up { A2 } else { A1 },
        key: "k",
        sources: &[source.as_ref()],
        old: old.as_ref(),
    };
    let made = lens.put_among(&put, &others)?.document();
    Ok(made.map_or("not ready".to_owned(), |fields| serde_json::to_string(&fields).unwrap()))
}

const GROUP: &str = "share: [{field: group, as: groupId, class: b@1, key: [name]}]";

#[test]
fn a_reference_changes_only_with_what_its_author_changed() {
    let lens = lens(GROUP);
    let park = [("garden", Some(r#"{"schema":"b","version":1,"name":"Park"}"#))];
    let garden = r#"{"t":1,"group":{"name":"garden"}}"#;
    let named_now = r#"{"t":1,"group":{"name":"Park"}}"#;
    let refers = r#"{"t":0,"groupId":"garden"}"#;
    for (source, old, before, expected) in [
        (garden, "", "", r#"{"t":1,"groupId":"garden"}"#),
        // A copy from before the group was called otherwise, of a reference that is another by now.
        (garden, r#"{"groupId":"work"}"#, garden, r#"{"t":1,"groupId":"work"}"#),
        (named_now, refers, named_now, r#"{"t":1,"groupId":"garden"}"#),
        // What was seen is not known.
        (named_now, refers, "", r#"{"t":1,"groupId":"garden"}"#),
        (r#"{"group":{"name":"work"}}"#, refers, garden, r#"{"groupId":"work"}"#),
        (r#"{"t":1}"#, refers, garden, r#"{"t":1}"#),
        (r#"{"t":1}"#, refers, r#"{"t":0}"#, r#"{"t":1,"groupId":"garden"}"#),
        (r#"{"t":1,"group":null}"#, "", "", r#"{"t":1}"#),
    ] {
        assert_eq!(
            made(&lens, Up, [source, old, before], &park).unwrap(),
            expected,
            "{source} {old} {before}"
        );
    }
    for nameless in [
        r#"{"group":"garden"}"#,
        r#"{"group":{}}"#,
        r#"{"group":{"name":["x"]}}"#,
    ] {
        let error = made(&lens, Up, [nameless, "", ""], &[]).unwrap_err();
        assert!(
            matches!(&error, PutError::NoValue { field, .. } if field == "group"),
            "{error}"
        );
    }
}

#[test]
fn what_is_embedded_is_what_the_shared_document_says() {
    let plain = lens(GROUP);
    let with_default = lens("share: [{field: group, as: groupId, class: b@1, key: [name], default: {name: none}}]");
    let live = [("garden", Some(r#"{"schema":"b","version":1,"name":"Park","size":1.0}"#))];
    let refers = r#"{"t":1,"groupId":"garden"}"#;
    for (lens, documents, expected) in [
        (&plain, &live[..], r#"{"t":1,"group":{"name":"Park","size":1.0}}"#),
        (&plain, &[("garden", None)], r#"{"t":1}"#),
        (&plain, &[], "not ready"),
        (&with_default, &[("garden", None)], r#"{"t":1,"group":{"name":"none"}}"#),
        (&with_default, &[], r#"{"t":1,"group":{"name":"none"}}"#),
    ] {
        assert_eq!(made(lens, Down, [refers, "", ""], documents).unwrap(), expected);
    }
    for none in [r#"{"t":1}"#, r#"{"t":1,"groupId":null}"#] {
        assert_eq!(made(&with_default, Down, [none, "", ""], &live).unwrap(), r#"{"t":1}"#);
    }
    // An edit of a document whose group is gone leaves the reference, even if it is not known what its author saw.
    let shown = r#"{"t":2,"group":{"name":"none"}}"#;
    let kept = r#"{"t":2,"groupId":"garden"}"#;
    assert_eq!(
        made(&with_default, Up, [shown, refers, ""], &[("garden", None)]).unwrap(),
        kept
    );
}

#[test]
fn a_lens_may_share_several_documents_and_values() {
    let lens = lens(
        "steps: [{rename: {from: g, to: group}}], share: [
            {field: group, as: group, class: b@1, value: name},
            {field: owner, as: ownerId, class: b@1, key: [first, last]}]",
    );
    let old = r#"{"g":"garden","owner":{"first":"A","last":"B"}}"#;
    let embedded = lens.embedded(&fields(old)).unwrap();
    let told: Vec<String> = embedded
        .iter()
        .map(|e| serde_json::to_string(&e.fields).unwrap())
        .collect();
    assert_eq!(told, [r#"{"name":"garden"}"#, r#"{"first":"A","last":"B"}"#]);
    let new = made(&lens, Up, [old, "", ""], &[]).unwrap();
    let documents = [
        (&*embedded[0].key, Some(&*told[0])),
        (&*embedded[1].key, Some(&*told[1])),
    ];
    assert_eq!(
        serde_json::from_str::<Value>(&new).unwrap(),
        serde_json::json!({"group": "garden", "ownerId": embedded[1].key})
    );
    let back = made(&lens, Down, [&new, "", ""], &documents).unwrap();
    assert!(fields(&back).same_as(&fields(old)), "{back}");
}

#[test]
fn a_script_sees_what_is_embedded() {
    let text = "export const up = ({ 'a@1': { g, ...rest } }) => ({ 'a@2': { ...rest, group: { name: g } } });
        export const down = ({ 'a@2': { group, ...rest } }) => ({ 'a@1': { ...rest, g: group.name } });";
    let script = Script::load("a.js", &|_| Ok(text.to_owned()), Default::default()).unwrap();
    let file = file(&format!("script: a.js, {GROUP}"));
    let lens = file.compile_with(&look_up, Some(script)).unwrap();
    let new = made(&lens, Up, [r#"{"g":"garden"}"#, "", ""], &[]).unwrap();
    assert_eq!(new, r#"{"groupId":"garden"}"#);
    let park = [("garden", Some(r#"{"name":"Park"}"#))];
    assert_eq!(made(&lens, Down, [&new, "", ""], &park).unwrap(), r#"{"g":"Park"}"#);
}

#[test]
fn what_cannot_be_shared_is_told() {
    for (rest, told) in [
        ("share: [{field: g, as: h, class: b@1}]", "which document is meant"),
        (
            "share: [{field: g, as: h, class: b@1, value: a, key: [b]}]",
            "that are not embedded",
        ),
        (
            "share: [{field: g, as: h, class: d@1, key: [a]}]",
            "there is no class d@1",
        ),
        (
            "share: [{field: g, as: h, class: a@2, key: [a]}]",
            "a@2 is a class of this lens",
        ),
        (
            "share: [{field: _id, as: schema, class: b@1, key: [a]}]",
            "is no field for a lens",
        ),
        (
            "share: [{field: g, as: h, class: b@1, key: [a]}, {field: i, as: h, class: b@1, key: [a]}]",
            "two shared documents have the same name",
        ),
        (
            "examples: [{name: x, shared: {b@1/a: {}}, old: {a@1: {}}, new: {a@2: {}}}]",
            "b@1 is no document that this lens shares",
        ),
    ] {
        let flaws = flaws(rest);
        assert!(flaws.contains(told), "{flaws}");
    }
    let file =
        "{old: [a@1, c@1], new: a@2, parts: {c@1: {default: {}}}, share: [{field: g, as: h, class: b@1, key: [a]}]}";
    let file: LensFile = serde_saphyr::from_str(file).unwrap();
    let flaws = format!("{:?}", file.compile(&look_up).unwrap_err());
    assert!(flaws.contains("a side has several classes"), "{flaws}");
}
