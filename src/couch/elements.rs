//! The elements of an array, whole and one at a time, while the JSON text around them passes: the documents of a `_bulk_docs`, and the
//! rows of its answer.

use super::nesting::Nesting;

/// The longest name of a member that matters, every letter escaped, in its quotes.
const LONGEST_NAME: usize = 64;

/// The longest value of a member that matters.
const LONGEST_VALUE: usize = 8;

/// Reads JSON in pieces, cut anywhere. Whatever it may be, what is not an element passes as it is; what is no JSON is for CouchDB to
/// refuse.
#[derive(Debug)]
pub struct Elements {
    /// The member of the outermost object that is the array; none if the text is.
    name: Option<&'static str>,
    place: Place,
    /// What was read of an element.
    held: Vec<u8>,
    array: Array,
    is_new_edits: bool,
}

#[derive(Debug)]
enum Place {
    Outside(Outside),
    Inside(Nesting),
    /// In an element that is not held.
    Passing(Nesting),
}

/// What stands around the array.
#[derive(Debug, Default)]
struct Outside {
    nesting: Nesting,
    /// The string of the outermost object that is being read, or was last, with its quotes.
    string: Vec<u8>,
    /// The member whose value is being read.
    member: Option<String>,
    /// That value, if it is neither text nor nested.
    value: Vec<u8>,
    /// What `new_edits` was read to be.
    new_edits: Option<bool>,
}

/// An array that is being written.
#[derive(Debug, Default)]
pub struct Array {
    text: Vec<u8>,
    is_begun: bool,
    /// Elements that were read so far.
    read: usize,
}

impl Elements {
    /// Those of the member `name`, of the outermost object.
    pub fn of_member(name: &'static str) -> Self {
        Self::new(Some(name))
    }

    /// Those of the outermost array.
    pub fn of_array() -> Self {
        Self::new(None)
    }

    fn new(name: Option<&'static str>) -> Self {
        Self {
            name,
            place: Place::Outside(Outside::default()),
            held: Vec::new(),
            array: Array::default(),
            is_new_edits: true,
        }
    }

    /// The member `new_edits` of the outermost object, as far as it was read.
    pub fn is_new_edits(&self) -> bool {
        self.is_new_edits
    }

    /// How much is held of the element that is being read.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Lets the element that is being read pass unseen.
    pub fn release(&mut self) {
        if let Place::Inside(nesting) = self.place {
            self.place = Place::Passing(nesting);
            self.array.put(&self.held);
            self.array.read += 1;
            self.held = Vec::new();
        }
    }

    /// What passes of the next piece. `each` is given every element and puts into the array what is to stand there; at the end of the
    /// array it is called once more, without one.
    pub fn read(&mut self, mut piece: &[u8], mut each: impl FnMut(Option<&[u8]>, &mut Array)) -> Vec<u8> {
        while let Some(&byte) = piece.first() {
            let length = match &mut self.place {
                Place::Outside(outside) => {
                    let (length, opens) = outside.read(piece, self.name);
                    if let Some(is_new_edits) = outside.new_edits.take() {
                        self.is_new_edits = is_new_edits;
                    }
                    self.array.text.extend_from_slice(&piece[..length]);
                    if opens {
                        self.place = Place::Inside(Nesting::default());
                        (self.array.is_begun, self.array.read) = (false, 0);
                    }
                    length
                }
                Place::Inside(nesting) | Place::Passing(nesting)
                    if !nesting.is_open() && matches!(byte, b',' | b']') =>
                {
                    self.behind(byte, &mut each);
                    1
                }
                Place::Inside(nesting) => {
                    let length = nesting.end(piece).unwrap_or(piece.len());
                    self.held.extend_from_slice(&piece[..length]);
                    length
                }
                Place::Passing(nesting) => {
                    let length = nesting.end(piece).unwrap_or(piece.len());
                    self.array.text.extend_from_slice(&piece[..length]);
                    length
                }
            };
            piece = &piece[length..];
        }
        std::mem::take(&mut self.array.text)
    }

    /// An element has ended, and with `]` the array.
    fn behind(&mut self, byte: u8, each: &mut impl FnMut(Option<&[u8]>, &mut Array)) {
        let is_held = matches!(self.place, Place::Inside(_));
        // An array of nothing but space has no element; anywhere else it is for CouchDB to refuse.
        let is_none = byte == b']' && self.array.read == 0 && self.held.trim_ascii().is_empty();
        if is_held && !is_none {
            each(Some(&self.held), &mut self.array);
            self.array.read += 1;
        } else if is_held {
            self.array.text.extend_from_slice(&self.held);
        }
        self.held.clear();
        self.place = Place::Inside(Nesting::default());
        if byte == b']' {
            each(None, &mut self.array);
            self.array.text.push(b']');
            self.place = Place::Outside(Outside::behind(self.name.is_some()));
        }
    }
}

impl Outside {
    /// Behind the array: in the object it is a member of, or behind everything.
    fn behind(is_member: bool) -> Self {
        Self {
            nesting: if is_member {
                Nesting::begun()
            } else {
                Nesting::default()
            },
            ..Self::default()
        }
    }

    /// How far this goes on, and whether the array begins there.
    fn read(&mut self, piece: &[u8], name: Option<&str>) -> (usize, bool) {
        for (at, &byte) in piece.iter().enumerate() {
            let (was_text, depth) = (self.nesting.in_string(), self.nesting.depth());
            self.nesting.pass(byte);
            let opens = match name {
                Some(name) => depth == 1 && self.member.as_deref() == Some(name),
                None => depth == 0,
            };
            match byte {
                _ if depth != 1 || name.is_none() => {}
                _ if was_text => keep(&mut self.string, byte, LONGEST_NAME),
                b'"' => self.string = vec![byte],
                b':' => {
                    self.member = serde_json::from_slice(&self.string).ok();
                    self.value.clear();
                }
                b',' | b'}' => {
                    if self.member.take().is_some_and(|name| name == "new_edits") {
                        self.new_edits = serde_json::from_slice(&self.value).ok();
                    }
                }
                _ => keep(&mut self.value, byte, LONGEST_VALUE),
            }
            if byte == b'[' && !was_text && opens {
                return (at + 1, true);
            }
        }
        (piece.len(), false)
    }
}

/// One byte too many tells that it is too long.
fn keep(text: &mut Vec<u8>, byte: u8, longest: usize) {
    if text.len() <= longest && !(text.is_empty() && byte.is_ascii_whitespace()) {
        text.push(byte);
    }
}

impl Array {
    /// How many elements were read before this one.
    pub fn index(&self) -> usize {
        self.read
    }

    /// Another element.
    pub fn put(&mut self, element: &[u8]) {
        if std::mem::replace(&mut self.is_begun, true) {
            self.text.push(b',');
        }
        self.text.extend_from_slice(element);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::{Value, json};

    use super::*;

    /// What passes if only the elements that `keeps` names do, and what the elements were.
    fn passed(
        mut elements: Elements,
        text: &str,
        cuts: &[usize],
        keeps: impl Fn(usize) -> bool,
    ) -> (String, Vec<String>, bool) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let (mut out, mut seen) = (Vec::new(), Vec::new());
        for cut in cuts.windows(2) {
            out.extend(elements.read(&text.as_bytes()[cut[0]..cut[1]], |element, array| {
                let Some(element) = element else { return };
                assert_eq!(array.index(), seen.len());
                if keeps(seen.len()) {
                    array.put(element);
                }
                seen.push(String::from_utf8(element.to_vec()).unwrap());
            }));
        }
        (String::from_utf8(out).unwrap(), seen, elements.is_new_edits())
    }

    #[test]
    fn whatever_it_is_it_passes_as_it_is() {
        for text in [
            r#"{"docs":[]}"#,
            " {\n \"docs\" : [ ] , \"new_edits\" : true } ",
            r#"{"docs":[{"_id":"a"}, 1 ,"],{",[[]],null]}"#,
            r#"{"docs":[1,]}"#,
            r#"{"docs":[,1]}"#,
            r#"{"docs":[1]]]}}"#,
            r#"{"docs":{"docs":[1]},"a":[1],"docs":[2]}"#,
            "[[1],2]",
            "]",
            "",
        ] {
            for cut in 0..=text.len() {
                assert_eq!(passed(Elements::of_member("docs"), text, &[cut], |_| true).0, text);
                assert_eq!(passed(Elements::of_array(), text, &[cut], |_| true).0, text);
            }
        }
    }

    #[test]
    fn names_may_be_written_in_any_way() {
        let text = r#"{"x":{"new_edits":true},"\u0064ocs":[ 1, 2 ],"new_edit\u0073" : false }"#;
        for cut in 0..=text.len() {
            let (out, seen, is_new_edits) = passed(Elements::of_member("docs"), text, &[cut], |n| n == 1);
            assert_eq!(out, text.replace(" 1,", ""));
            assert_eq!((seen, is_new_edits), (vec![" 1".to_owned(), " 2 ".to_owned()], false));
        }
    }

    #[test]
    fn a_released_element_passes_unseen() {
        let mut elements = Elements::of_member("docs");
        let mut seen = Vec::new();
        let mut read = |elements: &mut Elements, text: &str| {
            let out = elements.read(text.as_bytes(), |element, array| {
                if let Some(element) = element {
                    seen.push(String::from_utf8(element.to_vec()).unwrap());
                    array.put(element);
                }
            });
            String::from_utf8(out).unwrap()
        };
        let mut out = read(&mut elements, r#"{"docs":[1,{"long":"#);
        assert_eq!(elements.held(), 8);
        elements.release();
        out += &read(&mut elements, r#""text, "},3]}"#);
        assert_eq!(out, r#"{"docs":[1,{"long":"text, "},3]}"#);
        assert_eq!(seen, ["1", "3"]);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let text = "[a-c{}\\[\\]\",:\\\\\n]{0,6}";
        let leaf = prop_oneof![any::<i32>().prop_map(Value::from), text.prop_map(Value::from)];
        leaf.prop_recursive(3, 12, 3, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..3).prop_map(Value::from),
                vec((text, inner), 0..3).prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_kept_is_there_in_its_order(
            docs in vec((any_json(), any::<bool>()), 0..6),
            other in any_json(),
            new_edits: bool,
            pretty: bool,
            cuts in vec(any::<usize>(), 0..8),
        ) {
            let (all, kept): (Vec<_>, Vec<_>) = docs.iter().map(|(doc, keep)| (doc.clone(), keep.then(|| doc.clone()))).unzip();
            let write = |value: &Value| if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }.unwrap();
            let text = write(&json!({"other": &other, "docs": &all, "new_edits": new_edits}));
            let (out, seen, is_new_edits) = passed(Elements::of_member("docs"), &text, &cuts, |n| docs[n].1);
            let out: Value = serde_json::from_str(&out).unwrap();
            let kept: Vec<Value> = kept.into_iter().flatten().collect();
            prop_assert_eq!(out, json!({"other": other, "docs": kept, "new_edits": new_edits}));
            let seen: Vec<Value> = seen.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(seen, all);
            prop_assert_eq!(is_new_edits, new_edits);
        }
    }
}
