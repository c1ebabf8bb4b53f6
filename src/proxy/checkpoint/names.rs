//! The names under which CouchDB keeps the `_local` documents of clients that see through one filter.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::{couch::route::decode, schema::Filter};

const LOCAL: &str = "_local/";

/// Between `_local/<id>`, as a client says, and `_local/filter-<tag>-<id>`, as CouchDB does.
///
/// What tells the filters apart stands first: so no two filters share a name whatever the ids are, an id that begins like
/// that itself gets it once more, and the documents of one filter are one range of `_local_docs`. No replicator makes such
/// ids by itself: CouchDB's are 32 hex digits, PouchDB's are Base64 with `.` and `_`.
#[derive(Clone, Debug)]
pub struct Names<'a> {
    tag: &'a str,
    prefix: String,
}

impl<'a> Names<'a> {
    /// Those of the clients that see through this filter.
    pub fn of(filter: &'a Filter) -> Self {
        Self::tagged(filter.tag())
    }

    /// Those of a filter with this tag.
    pub fn tagged(tag: &'a str) -> Self {
        let prefix = format!("filter-{tag}-");
        Self { tag, prefix }
    }

    /// By how many bytes the names in CouchDB are longer.
    pub fn longer(&self) -> usize {
        self.prefix.len()
    }

    /// The name in CouchDB; none for what is no `_local` document.
    pub fn stored(&self, id: &str) -> Option<String> {
        let name = id.strip_prefix(LOCAL).filter(|name| !name.is_empty())?;
        Some(format!("{LOCAL}{}{name}", self.prefix))
    }

    /// Where a key of `_local_docs` stands among the names in CouchDB: those of a filter keep their order.
    pub fn place(&self, key: &str) -> String {
        match key.strip_prefix(LOCAL) {
            Some(name) => format!("{LOCAL}{}{name}", self.prefix),
            None if key < LOCAL => self.range().0,
            None => self.range().1,
        }
    }

    /// What all names in CouchDB stand between.
    pub fn range(&self) -> (String, String) {
        let end = format!("{LOCAL}filter-{}.", self.tag);
        (format!("{LOCAL}{}", self.prefix), end)
    }

    /// The name for clients; none for what is not theirs.
    pub fn shown(&self, id: &str) -> Option<String> {
        let name = id.strip_prefix(LOCAL)?.strip_prefix(&self.prefix)?;
        Some(format!("{LOCAL}{name}"))
    }

    /// The path of [`Route::Local`](crate::couch::Route::Local) to the name in CouchDB, otherwise spelt as it was.
    pub fn stored_path(&self, path: &str) -> String {
        let end = path.trim_end_matches('/').len();
        let name = path[..end].rfind('/').map_or(0, |slash| slash + 1);
        let segments = path.split('/').filter(|segment| !segment.is_empty()).count();
        // `/db/_local/name`, or `/db/_local%2Fname`.
        let at = if segments == 3 {
            name
        } else {
            name + after_slash(&path[name..end])
        };
        format!("{}{}{}", &path[..at], self.prefix, &path[at..])
    }

    /// The same for the `Destination` of a `COPY`; none if that is no `_local` document.
    pub fn stored_destination(&self, destination: &str) -> Option<String> {
        let id = destination.split('?').next().unwrap_or_default();
        self.stored(&decode(id))?;
        let at = after_slash(destination);
        Some(format!("{}{}{}", &destination[..at], self.prefix, &destination[at..]))
    }

    /// The `Location` of a document as clients say it; none if it is not theirs. CouchDB encodes the id as one segment.
    pub fn shown_location(&self, location: &str) -> Option<String> {
        let (db, id) = location.rsplit_once('/')?;
        self.shown(&decode(id))?;
        let at = after_slash(id);
        Some(format!("{db}/{}{}", &id[..at], id[at..].strip_prefix(&self.prefix)?))
    }

    /// What stands for the server's `uuid`, which PouchDB hashes into the ids of its checkpoints on both sides: so those in
    /// the client's own database follow the filter too. 32 hex digits, as CouchDB's has.
    pub fn uuid(&self, uuid: &str) -> String {
        let digest = Sha256::new().chain_update(uuid).chain_update(self.tag).finalize();
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The end of the first slash, however it is spelt.
fn after_slash(text: &str) -> usize {
    let spelt: Cow<'_, str> = text.to_ascii_lowercase().into();
    let plain = spelt.find('/').map(|at| at + 1);
    let encoded = spelt.find("%2f").map(|at| at + 3);
    plain.into_iter().chain(encoded).min().unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::*;
    use crate::couch::Route;

    fn names(tag: &str) -> Names<'_> {
        Names::tagged(tag)
    }

    #[test]
    fn other_documents_keep_their_names() {
        let names = names("12345678");
        for id in ["a", "_local", "_local/", "_design/a", "x_local/a", ""] {
            assert_eq!(names.stored(id), None, "{id}");
            assert_eq!(names.stored_destination(id), None, "{id}");
        }
        for id in ["a", "_local/a", "_local/filter-87654321-a", "_local/filter-12345678"] {
            assert_eq!(names.shown(id), None, "{id}");
        }
    }

    #[test]
    fn destinations_keep_their_spelling() {
        let names = names("12345678");
        for (destination, stored) in [
            ("_local/a b+c", "_local/filter-12345678-a b+c"),
            ("%5flocal%2fa?rev=0-1", "%5flocal%2ffilter-12345678-a?rev=0-1"),
            ("_local%2Fa/b", "_local%2Ffilter-12345678-a/b"),
            ("_local/a?rev=/", "_local/filter-12345678-a?rev=/"),
        ] {
            assert_eq!(names.stored_destination(destination).as_deref(), Some(stored));
        }
        // Other documents, to CouchDB (measured on 3.5.0).
        for destination in ["/db/_local/a", "a?rev=_local/b", "http://x/db/_local/a"] {
            assert_eq!(names.stored_destination(destination), None, "{destination}");
        }
    }

    #[test]
    fn locations_lead_to_what_the_client_named() {
        let names = names("12345678");
        for (location, shown) in [
            (
                "http://x/d/_local%2Ffilter-12345678-a%2Fb%7E",
                Some("http://x/d/_local%2Fa%2Fb%7E"),
            ),
            ("/a%2Fb/_local%2Ffilter-12345678-a", Some("/a%2Fb/_local%2Fa")),
            ("http://x/d/_local%2Fa", None),
            ("http://x/_local%2Ffilter-12345678-a/b", None),
        ] {
            assert_eq!(names.shown_location(location).as_deref(), shown, "{location}");
        }
    }

    #[test]
    fn uuids_differ_by_server_and_filter() {
        let uuid = names("12345678").uuid("959a9a2e6edafaecadc4151a4f33eef4");
        assert_eq!(uuid, names("12345678").uuid("959a9a2e6edafaecadc4151a4f33eef4"));
        assert!(uuid.len() == 32 && uuid.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')));
        assert_ne!(uuid, names("12345679").uuid("959a9a2e6edafaecadc4151a4f33eef4"));
        assert_ne!(uuid, names("12345678").uuid("959a9a2e6edafaecadc4151a4f33eef5"));
    }

    fn tag() -> impl Strategy<Value = String> {
        "[0-3]{8}"
    }

    /// Ids among them that look like stored ones.
    fn id() -> impl Strategy<Value = String> {
        prop_oneof![
            "\\PC{1,8}",
            ("(filter-[0-3]{8}-){0,2}", "[a/%+~.]{0,3}").prop_map(|(a, b)| a + &b + "x")
        ]
    }

    fn key() -> impl Strategy<Value = String> {
        prop_oneof![
            "\\PC{0,4}",
            id().prop_map(|id| format!("_local/{id}")),
            Just("_local/".to_owned())
        ]
    }

    proptest! {
        #[test]
        fn what_is_stored_is_shown_again(tag in tag(), id in id()) {
            let names = names(&tag);
            let id = format!("_local/{id}");
            let stored = names.stored(&id).unwrap();
            prop_assert_eq!(stored.len(), id.len() + names.longer());
            prop_assert_eq!(names.shown(&stored), Some(id));
        }

        #[test]
        fn places_keep_their_order(tag in tag(), (one, other) in (key(), key())) {
            let names = names(&tag);
            let (first, last) = names.range();
            let place = names.place(&one);
            prop_assert!(first <= place && place <= last);
            prop_assert!(one > other || place <= names.place(&other));
            if let Some(stored) = names.stored(&one) {
                prop_assert_eq!(&place, &stored);
                prop_assert!(first < stored && stored < last);
            }
        }

        #[test]
        fn no_two_clients_share_a_name(tags in (tag(), tag()), ids in (id(), id())) {
            let stored = |tag: &str, id: &str| names(tag).stored(&format!("_local/{id}")).unwrap();
            let same = tags.0 == tags.1 && ids.0 == ids.1;
            prop_assert_eq!(stored(&tags.0, &ids.0) == stored(&tags.1, &ids.1), same);
        }

        #[test]
        fn every_spelling_of_a_path_leads_to_the_stored_name(
            tag in tag(),
            db in prop::sample::select(vec!["d", "a%2Fb", "%64_%6cocal"]),
            local in prop::sample::select(vec!["_local/", "_local%2F", "%5Flocal%2f", "_local//", "_lo%63al/"]),
            name in prop::sample::select(vec!["x", "a+b", "%", "%4", "a%2Fb", "_local%2Fx", "_local", "%2f", "filter-12312312-x", "%C3%A4=="]),
            (lead, trail) in ("/{1,3}", "/{0,2}"),
        ) {
            let path = format!("{lead}{db}/{local}{name}{trail}");
            let Route::Local { db, id } = Route::parse(&Method::GET, &path) else { panic!("{path}") };
            let names = names(&tag);
            let id = names.stored(&id).unwrap();
            prop_assert_eq!(Route::parse(&Method::GET, &names.stored_path(&path)), Route::Local { db, id });
        }
    }
}
