//! The known differences: a file of reasons, each over the exchanges it explains.

use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Equal,
    /// Replayed, and has to differ.
    Differs,
    /// Replayed without the documents that CouchDB's validation refused, and without their rows.
    Partly,
    /// Not replayed: it would do what CouchDB refused.
    Skipped,
}

/// `[differs] reason`, `[partly] reason` or `[skipped] reason`, then lines of `topic 3 7-9`.
pub struct Known(BTreeMap<(String, usize), Verdict>);

impl Known {
    pub fn read(target: &str) -> Self {
        let text = match target {
            "embedded" => include_str!("embedded.txt"),
            _ => include_str!("couchdb.txt"),
        };
        let mut known = BTreeMap::new();
        let mut verdict = None;
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line {
                reason if reason.starts_with("[differs] ") => verdict = Some(Verdict::Differs),
                reason if reason.starts_with("[partly] ") => verdict = Some(Verdict::Partly),
                reason if reason.starts_with("[skipped] ") => verdict = Some(Verdict::Skipped),
                entry => {
                    let mut words = entry.split_whitespace();
                    let topic = words.next().unwrap();
                    for n in words.flat_map(numbers) {
                        let earlier = known.insert((topic.to_owned(), n), verdict.expect("a reason comes first"));
                        assert!(earlier.is_none(), "{target}.txt lists {topic} {n} twice");
                    }
                }
            }
        }
        Self(known)
    }

    pub fn verdict(&self, topic: &str, n: usize) -> Verdict {
        self.0.get(&(topic.to_owned(), n)).copied().unwrap_or(Verdict::Equal)
    }
}

fn numbers(range: &str) -> std::ops::RangeInclusive<usize> {
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    from.parse().unwrap()..=to.parse().unwrap()
}
