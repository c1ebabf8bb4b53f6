//! The fenced blocks of a page, and the outputs it shows.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::{fs, path::Path};

/// A fenced block: its language and its text.
pub type Block = (String, String);

/// All of a page, by its path in the repository.
pub fn blocks(file: &str) -> Vec<Block> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Equal, where `…` stands for any text within a line.
pub fn is_as_shown(got: &str, shown: &str) -> bool {
    let shown = shown.lines().map(|line| {
        let parts: Vec<String> = line.split('…').map(regex::escape).collect();
        parts.join(".*")
    });
    let shown = shown.collect::<Vec<_>>().join("\n");
    regex::Regex::new(&format!(r"\A{shown}\n?\z")).unwrap().is_match(got)
}
