//! What the fuzz targets share: the schemas of this project, and how bytes are read.

use std::path::Path;

use chesterfield::config::{Config, Given, Overrides, Schemas};

/// Bytes, taken from the front; when they are over, zeros come.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// Below `count`; 0 if that is 0.
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(self.next()) % count.max(1)
    }
}

/// The todo app, and the worked examples.
pub fn schemas() -> Vec<Schemas> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = [
        "schemas",
        "examples/address-book/schemas",
        "examples/chat/schemas",
        "examples/inventory/schemas",
    ];
    folders
        .map(|folder| {
            let given = |path: &str| {
                let by = "fuzz".to_owned();
                Some(Given {
                    value: root.join(path),
                    by,
                })
            };
            let overrides = Overrides {
                config: given("config.yaml"),
                schemas: given(folder),
                ..Overrides::default()
            };
            match Config::load(&overrides) {
                Ok(config) => config.schemas,
                Err(problems) => panic!("{folder}: {problems}"),
            }
        })
        .into()
}
