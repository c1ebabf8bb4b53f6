//! How many rows to ask for so that, when some are dropped, a client still gets as many as it wants.

use super::query::{Kind, Query};

/// The most rows asked for at once beyond those that are missing.
const LARGEST: u64 = 10_000;

/// One request of several that answer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) kind: Kind,
    /// Its limit.
    pub(super) limit: Option<u64>,
    /// It may bring more rows than the client wants.
    pub(super) is_generous: bool,
}

/// How far an answer is when a page has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// The rows of this page, and of all.
    pub(super) seen: u64,
    pub(super) seen_in_all: u64,
    /// The rows that have passed.
    pub(super) kept: u64,
    /// How many changes there are after this page, if it is known.
    pub(super) pending: Option<i64>,
}

impl Page {
    /// The first: what the client asks for. A feed that cannot be taken up again where a page ended, because it is live, goes
    /// backwards or is [filtered by CouchDB](Query::is_counted_here), is not limited: it is left when there is enough.
    pub(super) fn first(query: &Query) -> Self {
        let can_be_resumed =
            matches!(query.kind, Kind::Normal | Kind::Longpoll) && !query.descending && !query.is_counted_here();
        match query.limit {
            Some(limit) if limit > 0 && !can_be_resumed => Self {
                kind: query.kind,
                limit: None,
                is_generous: true,
            },
            limit => Self {
                kind: query.kind,
                limit,
                is_generous: false,
            },
        }
    }

    /// The page after this one; none if the answer is complete.
    pub(super) fn next(&self, query: &Query, progress: Progress) -> Option<Self> {
        let Progress {
            seen,
            seen_in_all,
            kept,
            pending,
        } = progress;
        if query.descending || !matches!(query.kind, Kind::Normal | Kind::Longpoll) {
            return None;
        }
        let missing = query.limit.map(|limit| limit.saturating_sub(kept));
        let is_full = self.limit.is_some_and(|limit| seen >= limit) && pending != Some(0);
        let goes_on = is_full && missing.is_some_and(|missing| missing > 0);
        // A longpoll has ended for rows none of which has passed: it goes on waiting.
        let waits =
            query.kind == Kind::Longpoll && kept == 0 && missing != Some(0) && (seen > 0 || self.kind == Kind::Normal);
        (goes_on || waits).then(|| Self {
            kind: if goes_on { Kind::Normal } else { query.kind },
            limit: missing
                .filter(|_| !query.is_counted_here())
                .map(|missing| size(missing, seen_in_all, kept)),
            is_generous: true,
        })
    }
}

/// How many rows are likely to hold these many that pass. A quarter more, because a page too few costs more than some rows.
fn size(missing: u64, seen: u64, kept: u64) -> u64 {
    let expected = match kept {
        0 => seen.saturating_mul(4),
        kept => missing.saturating_mul(seen).saturating_mul(5) / kept / 4 + 8,
    };
    expected.clamp(missing, LARGEST.max(missing))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Goes through changes that pass or not; answers how many have passed and how many pages it took.
    fn walk(query: &str, changes: &[bool]) -> (u64, usize) {
        let query = Query::parse(query);
        let mut page = Page::first(&query);
        let (mut at, mut kept, mut pages) = (0, 0, 1);
        loop {
            let end = changes
                .len()
                .min(at + page.limit.unwrap_or(u64::MAX).min(1 << 40) as usize);
            let seen = (end - at) as u64;
            let room = query.limit.unwrap_or(u64::MAX) - kept;
            kept += room.min(changes[at..end].iter().filter(|passes| **passes).count() as u64);
            at = end;
            let progress = Progress {
                seen,
                seen_in_all: at as u64,
                kept,
                pending: Some((changes.len() - at) as i64),
            };
            match page.next(&query, progress) {
                Some(next) if next.kind == query.kind || query.kind == Kind::Longpoll && next.kind == Kind::Normal => {
                    // Nothing comes any more: a longpoll would wait.
                    if next.kind == Kind::Longpoll {
                        return (kept, pages);
                    }
                    page = next;
                    pages += 1;
                }
                _ => return (kept, pages),
            }
        }
    }

    #[test]
    fn a_page_is_filled_in_a_few_requests() {
        let changes = |of: usize| (0..60_000).map(|n| n % of == 0).collect::<Vec<_>>();
        for (of, most) in [(1, 1), (2, 3), (3, 3), (10, 3), (100, 4), (1000, 8)] {
            let (kept, pages) = walk("limit=50", &changes(of));
            assert!(kept == 50 && pages <= most, "1 of {of}: {kept} rows in {pages} pages");
        }
        let (kept, pages) = walk("limit=100", &[false; 60_000]);
        assert!(kept == 0 && pages < 12, "{pages}");
    }

    #[test]
    fn a_longpoll_goes_on_waiting() {
        let query = Query::parse("feed=longpoll");
        let first = Page::first(&query);
        let progress = |seen, kept| Progress {
            seen,
            seen_in_all: seen,
            kept,
            pending: Some(0),
        };
        let next = first.next(&query, progress(3, 0)).unwrap();
        assert_eq!((next.kind, next.limit), (Kind::Longpoll, None));
        assert_eq!(first.next(&query, progress(3, 1)), None);
        // It ended because nothing came.
        assert_eq!(first.next(&query, progress(0, 0)), None);
        let query = Query::parse("feed=longpoll&limit=2");
        let first = Page::first(&query);
        assert_eq!(first.next(&query, progress(2, 0)).unwrap().kind, Kind::Longpoll);
        let more = Progress {
            pending: Some(9),
            ..progress(2, 0)
        };
        assert_eq!(first.next(&query, more).unwrap().kind, Kind::Normal);
    }

    #[test]
    fn what_cannot_be_resumed_is_read_until_there_is_enough() {
        for query in [
            "limit=2&descending=true",
            "limit=2&feed=continuous",
            "limit=2&feed=eventsource",
            "limit=2&filter=a/b",
        ] {
            let query = Query::parse(query);
            let page = Page::first(&query);
            assert!(page.limit.is_none() && page.is_generous);
            let progress = Progress {
                seen: 9,
                seen_in_all: 9,
                kept: 1,
                pending: Some(9),
            };
            assert_eq!(page.next(&query, progress), None);
        }
    }

    proptest! {
        /// As many rows as are wanted, or all there are; every page brings some.
        #[test]
        fn no_row_is_missing(
            changes in proptest::collection::vec(prop::bool::weighted(0.2), 0..400),
            limit in 0_u64..60,
            kind in prop_oneof![Just("normal"), Just("longpoll")],
        ) {
            let visible = changes.iter().filter(|passes| **passes).count() as u64;
            let (kept, pages) = walk(&format!("feed={kind}&limit={limit}"), &changes);
            prop_assert_eq!(kept, visible.min(limit));
            prop_assert!(pages <= 12, "{} pages", pages);
        }
    }
}
