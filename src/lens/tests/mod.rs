//! The lenses of the todo app, and the laws on generated documents.

mod laws;
mod sharing;

use proptest::prelude::*;

use super::*;
use crate::schema::Direction::{self, Down, Up};

pub const CLASSES: [&str; 4] = ["todo-item@1", "todo-item@2", "todo-item@3", "todo-item-status@1"];
const T1: ClassId = ClassId(0);
const T2: ClassId = ClassId(1);
const T3: ClassId = ClassId(2);
const S: ClassId = ClassId(3);

fn look_up(name: &ClassName) -> Option<ClassId> {
    CLASSES.iter().position(|class| *class == name.to_string()).map(ClassId)
}

fn compile(yaml: &str) -> Result<Lens, Vec<crate::schema::Flaw>> {
    serde_saphyr::from_str::<LensFile>(yaml).unwrap().compile(&look_up)
}

fn status() -> Lens {
    compile(include_str!("../../../schemas/lenses/todo-item-1-to-2.yaml")).unwrap()
}

fn group() -> Lens {
    compile(include_str!("../../../schemas/lenses/todo-item-2-to-3.yaml")).unwrap()
}

fn fields(json: &str) -> Fields {
    serde_json::from_str(json).unwrap()
}

fn put(lens: &Lens, to: Direction, target: ClassId, sources: &[&Fields], old: Option<&Fields>) -> String {
    let sources: Vec<_> = sources.iter().map(|fields| Some(*fields)).collect();
    serde_json::to_string(&made(lens, to, target, &sources, old).unwrap()).unwrap()
}

fn made(
    lens: &Lens,
    to: Direction,
    target: ClassId,
    sources: &[Option<&Fields>],
    old: Option<&Fields>,
) -> Result<Fields, PutError> {
    let put = Put {
        to,
        target,
        key: "k",
        sources,
        old,
    };
    lens.put(&put).map(|made| made.document().unwrap())
}

impl Lens {
    /// With one more operation, next to the new side's primary.
    pub(crate) fn with_edit(mut self, edit: impl operation::Edit + 'static) -> Self {
        let edit = operation::Operation::Edit {
            slot: PRIMARY,
            edit: std::sync::Arc::new(edit),
        };
        self.steps = Sequence::new(self.steps.operations().iter().cloned().chain([edit]).collect());
        self
    }
}

#[test]
fn the_examples_beside_the_lenses_hold() {
    assert_eq!(status().run_examples(), []);
    assert_eq!(group().run_examples(), []);
}

#[test]
fn what_no_operation_touches_keeps_its_text() {
    let source = fields(r#"{"schema":"todo-item","z":1.0,"isDone":true,"n":9007199254740993,"o":{"b":1e2, "a":0}}"#);
    let got = put(&status(), Up, T2, &[&source], None);
    assert_eq!(
        got,
        r#"{"schema":"todo-item","z":1.0,"n":9007199254740993,"o":{"b":1e2, "a":0}}"#
    );
}

#[test]
fn a_part_keeps_what_it_holds_beside_the_fields_that_reach_it() {
    let old = fields(r#"{"schema":"todo-item-status","status":"blocked","note":"x"}"#);
    let done = put(&status(), Up, S, &[&fields(r#"{"isDone":true}"#)], Some(&old));
    assert_eq!(done, r#"{"schema":"todo-item-status","note":"x","status":"done"}"#);
}

#[test]
fn a_deleted_part_counts_as_its_default() {
    let lens = status();
    let fields = made(&lens, Down, T1, &[Some(&fields(r#"{"title":"a"}"#)), None], None).unwrap();
    assert_eq!(fields.get("isDone").unwrap().get(), "false");
}

#[test]
fn a_value_the_lens_does_not_know_is_an_error() {
    let lens = compile(
        "{old: todo-item@1, new: todo-item@2, steps: [{convert: {field: size, values: [[1, small], [2, large]]}}]}",
    );
    let error = made(&lens.unwrap(), Up, T2, &[Some(&fields(r#"{"size":3}"#))], None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`size` is 3, for which the lens has no value on the new side"
    );
}

#[test]
fn many_values_on_one_side_may_be_one_on_the_other() {
    let lens = compile(
        "{old: todo-item@1, new: todo-item@2, steps: [{convert: {field: p, values: [[low, 1], [lowest, 1], [high, 2]]}}]}",
    )
    .unwrap();
    let put = |to, target, source: &str, old: &str| put(&lens, to, target, &[&fields(source)], Some(&fields(old)));
    assert_eq!(put(Down, T1, r#"{"p":1}"#, r#"{"p":"lowest"}"#), r#"{"p":"lowest"}"#);
    assert_eq!(put(Down, T1, r#"{"p":1}"#, r#"{"p":"high"}"#), r#"{"p":"low"}"#);
    assert_eq!(put(Up, T2, r#"{"p":"lowest"}"#, r#"{"p":2}"#), r#"{"p":1}"#);
}

#[test]
fn a_chain_of_operations_on_one_field_keeps_what_the_target_knew() {
    let lens = compile(
        "{old: todo-item@2, new: todo-item@3, steps: [{add: {field: group, value: none}}, {rename: {from: group, to: list}}]}",
    )
    .unwrap();
    let source = fields(r#"{"title":"b"}"#);
    let old = fields(r#"{"title":"a","list":"x"}"#);
    assert_eq!(
        put(&lens, Up, T3, &[&source], Some(&old)),
        r#"{"title":"b","list":"x"}"#
    );
    assert_eq!(put(&lens, Down, T2, &[&old], None), r#"{"title":"a"}"#);
}

#[test]
fn of_an_empty_part_scripts_make_nothing_as_steps_do() {
    let yaml = "{ old: todo-item@1, new: [todo-item@2, todo-item-status@1], script: a.js,
        parts: { todo-item-status@1: { default: {}, empty: delete } },
        examples: [{ name: none, way: up, old: { todo-item@1: {} }, new: { todo-item-status@1: null } }] }";
    let text = "const part = 'todo-item-status@1';
        export const up = (docs) => { const { status } = docs['todo-item@1']; return { 'todo-item@2': {}, [part]: { status } } };
        export const down = (docs) => ({ 'todo-item@1': docs[part] });";
    let script = crate::script::Script::load("a.js", &|_| Ok(text.to_owned()), Default::default()).unwrap();
    let file = serde_saphyr::from_str::<LensFile>(yaml).unwrap();
    let lens = file.compile_with(&look_up, Some(script)).unwrap();
    assert_eq!(lens.run_examples(), []);
    let made = |source: &str, old: Option<&str>| {
        let (source, old) = (fields(source), old.map(fields));
        let put = Put {
            to: Up,
            target: S,
            key: "k",
            sources: &[Some(&source)],
            old: old.as_ref(),
        };
        lens.put(&put).unwrap().document()
    };
    assert!(made("{}", None).is_none());
    assert!(made("{}", Some(r#"{"status":1}"#)).is_none());
    assert!(made(r#"{"status":1}"#, None).is_some());
    assert!(
        made("{}", Some(r#"{"schema":"todo-item-status","version":1}"#)).is_some(),
        "it says the same already"
    );
}

#[test]
fn a_text_of_a_number_that_couchdb_does_not_take_is_none() {
    let lens = compile(
        "{ old: todo-item@1, new: todo-item@2, steps: [{ convert: { field: size, cast: { old: string, new: number } } }] }",
    )
    .unwrap();
    let source = fields(r#"{"size":"1e400"}"#);
    let error = made(&lens, Up, T2, &[Some(&source)], None).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"`size` is "1e400", for which the lens has no value on the new side"#
    );
    assert_eq!(
        put(&lens, Up, T2, &[&fields(r#"{"size":"1e300"}"#)], None),
        r#"{"size":1e300}"#
    );
}

#[test]
fn what_a_part_knows_is_kept_behind_a_condition_on_the_primary() {
    let lens = compile(
        "{old: todo-item@1, new: [todo-item@2, todo-item-status@1], parts: {todo-item-status@1: {default: {}}}, steps: [\
         {when: {field: kind, is: task, steps: [{add: {in: todo-item-status@1, field: status, value: active}}]}}]}",
    )
    .unwrap();
    let old = fields(r#"{"status":"blocked","note":1}"#);
    let made = |kind: &str, old: Option<&Fields>| put(&lens, Up, S, &[&fields(kind)], old);
    assert_eq!(made(r#"{"kind":"task"}"#, None), r#"{"status":"active"}"#);
    assert_eq!(
        made(r#"{"kind":"task"}"#, Some(&old)),
        r#"{"note":1,"status":"blocked"}"#
    );
    assert_eq!(made(r#"{"kind":"call"}"#, None), "{}");
}

#[test]
fn a_target_that_lacks_an_added_field_goes_on_without_it() {
    let lens = compile("{old: todo-item@2, new: todo-item@3, steps: [{add: {field: group, value: none}}]}").unwrap();
    let old = fields(r#"{"title":"a"}"#);
    let again = put(&lens, Up, T3, &[&fields(r#"{"title":"b"}"#)], Some(&old));
    assert_eq!(again, r#"{"title":"b"}"#);
}

#[test]
fn a_nested_value_the_lens_does_not_know_is_named_with_its_place() {
    let lens = compile(
        "{old: todo-item@1, new: todo-item@2, steps: [{map: {field: tags, steps: [\
         {within: {field: size, steps: [{convert: {field: ., values: [[1, 2]]}}]}}]}}]}",
    )
    .unwrap();
    let source = fields(r#"{"tags":[{"size":1},{"size":3}]}"#);
    let error = made(&lens, Up, T2, &[Some(&source)], None).unwrap_err();
    assert_eq!(error.place(), "tags/1/size/.");
}

#[test]
fn what_no_operation_touches_keeps_its_text_at_every_depth() {
    let lens = compile(
        "{old: todo-item@1, new: todo-item@2, steps: [{map: {field: l, steps: [{rename: {from: a, to: b}}]}}]}",
    )
    .unwrap();
    let source = fields(r#"{"l":[{"_id":"x","a":1.0,"n":9007199254740993,"o":{"z": 1e2}}, 1.50]}"#);
    assert_eq!(
        put(&lens, Up, T2, &[&source], None),
        r#"{"l":[{"_id":"x","b":1.0,"n":9007199254740993,"o":{"z": 1e2}},1.50]}"#
    );
}

/// What stands in the way of each list of steps on nested values.
#[test]
fn what_has_no_room_beside_a_single_value_is_a_flaw() {
    let told = |steps: &str| {
        let lens = format!("{{old: todo-item@1, new: todo-item@2, steps: [{{map: {{field: l, steps: [{steps}]}}}}]}}");
        let flaws = compile(&lens).err().unwrap_or_default();
        flaws.into_iter().map(|flaw| flaw.what).collect::<Vec<_>>()
    };
    let convert = "{convert: {field: ., values: [[1, 2]]}}";
    let lost = |field: &str| {
        vec![format!(
            "`{field}` is lost where a value is no object: it would stand beside `.`"
        )]
    };
    for (steps, expected) in [
        (format!("{convert}, {{add: {{field: kind, value: x}}}}"), lost("kind")),
        (format!("{{remove: {{field: kind, value: x}}}}, {convert}"), lost("kind")),
        ("{copy: {field: ., to: number, resolve: copy}}".to_owned(), lost("number")),
        ("{add: {field: label, template: 'no {.}'}}".to_owned(), lost("label")),
        // The value becomes an object, or one becomes the value.
        (
            "{rename: {from: ., to: number}}, {add: {field: kind, value: x}}".to_owned(),
            vec![],
        ),
        (
            "{rename: {from: number, to: .}}, {remove: {field: kind, value: x}}".to_owned(),
            vec![],
        ),
        (
            "{remove: {field: kind, value: x}}, {rename: {from: number, to: .}}".to_owned(),
            vec![],
        ),
        // Nobody says that there are single values, or that they stay single.
        ("{add: {field: kind, value: x}}".to_owned(), vec![]),
        (
            "{when: {field: kind, exists: false, steps: [{rename: {from: ., to: number}}]}}, {add: {field: size, value: 1}}"
                .to_owned(),
            vec![],
        ),
        (convert.to_owned(), vec![]),
    ] {
        assert_eq!(told(&steps), expected, "{steps}");
    }
}

#[test]
fn every_flaw_is_told_at_once() {
    let flaws = compile(
        "{old: todo-item@1, new: [todo-item@9, todo-item-status@1], steps: [{rename: {from: _id, to: version}}, \
         {move: {field: a, to: settings@1}}]}",
    )
    .unwrap_err();
    let at: Vec<_> = flaws.iter().map(|flaw| flaw.at.as_str()).collect();
    assert_eq!(
        at,
        [
            "/new",
            "/parts",
            "/steps/0/rename/from",
            "/steps/0/rename/to",
            "/steps/1/move/to"
        ]
    );
}

fn todo_1() -> impl Strategy<Value = Fields> {
    (any::<Option<bool>>(), "[a-z]{0,3}", any::<Option<i64>>()).prop_map(|(done, title, unknown)| {
        let mut json = serde_json::json!({"title": title});
        done.inspect(|done| json["isDone"] = (*done).into());
        unknown.inspect(|unknown| json["unknown"] = (*unknown).into());
        fields(&json.to_string())
    })
}

fn part() -> impl Strategy<Value = Fields> {
    (
        proptest::sample::select(vec!["active", "blocked", "done", "odd"]),
        any::<Option<u8>>(),
    )
        .prop_map(|(status, note)| {
            let mut json = serde_json::json!({"status": status});
            note.inspect(|note| json["note"] = (*note).into());
            fields(&json.to_string())
        })
}

proptest! {
    /// What was just got changes nothing when it is put back.
    #[test]
    fn get_put(v1 in todo_1(), v2 in todo_1(), s in part()) {
        let lens = status();
        let mut v2 = v2;
        v2.take("isDone");
        let v1_got = made(&lens, Down, T1, &[Some(&v2), Some(&s)], None).unwrap();
        prop_assert!(made(&lens, Up, T2, &[Some(&v1_got)], Some(&v2)).unwrap().same_as(&v2));
        prop_assert!(made(&lens, Up, S, &[Some(&v1_got)], Some(&s)).unwrap().same_as(&s));
        let got = [T2, S].map(|class| made(&lens, Up, class, &[Some(&v1)], None).unwrap());
        let back = made(&lens, Down, T1, &[Some(&got[0]), Some(&got[1])], Some(&v1)).unwrap();
        prop_assert!(back.same_as(&v1) || v1.get("isDone").is_none(), "{:?} became {:?}", v1, back);
    }

    /// What was put can be got again, whatever the target was.
    #[test]
    fn put_get(v1 in todo_1(), v2 in todo_1(), s in part()) {
        let lens = status();
        let put = [(T2, &v2), (S, &s)].map(|(class, old)| made(&lens, Up, class, &[Some(&v1)], Some(old)).unwrap());
        let again = made(&lens, Down, T1, &[Some(&put[0]), Some(&put[1])], Some(&v1)).unwrap();
        prop_assert!(again.same_as(&v1) || v1.get("isDone").is_none(), "{:?} became {:?}", v1, again);
    }
}
