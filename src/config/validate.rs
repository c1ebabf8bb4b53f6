//! What becomes of documents that do not fit their class, for each class.

use super::{compile::Settings, problem::escaped, raw::ByPattern};
use crate::{proxy::validate::Validate, schema::Registry};

const AT: &str = "/validate";

impl Settings<'_> {
    /// In the order of the registry's classes. `registry` is none while the schemas have flaws: then nothing can be said of a class.
    pub(super) fn validate(&mut self, file: Option<ByPattern>, registry: Option<&Registry>) -> Option<Vec<Validate>> {
        let names: Option<Vec<String>> =
            registry.map(|registry| registry.classes().map(|(_, class)| class.name.to_string()).collect());
        let entries = match file {
            None => Vec::new(),
            Some(ByPattern::Everywhere(text)) => vec![("*".to_owned(), self.mode(AT, &text)?)],
            Some(ByPattern::Each(entries)) => {
                let entries = entries.into_iter().map(|(pattern, text)| {
                    let mode = self.mode(&format!("{AT}/{}", escaped(&pattern)), &text);
                    Some((pattern, mode?))
                });
                entries.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()?
            }
        };
        let mut modes = vec![None; names.as_deref().map_or(0, <[_]>::len)];
        for (pattern, mode) in entries {
            let fits = self.databases(AT, std::slice::from_ref(&pattern))?;
            let Some(names) = &names else { continue };
            let mut is_any = pattern == "*";
            for (name, of_class) in names.iter().zip(&mut modes) {
                if fits.contains(name) {
                    is_any = true;
                    of_class.get_or_insert(mode);
                }
            }
            if !is_any {
                let what = format!("there is no class `{pattern}`");
                let mend = format!(
                    "name one of {}, or write a pattern, as in `todo-item@*`",
                    names.join(", ")
                );
                self.flaw(&format!("{AT}/{}", escaped(&pattern)), what, mend);
            }
        }
        Some(modes.into_iter().map(Option::unwrap_or_default).collect())
    }

    fn mode(&mut self, at: &str, text: &str) -> Option<Validate> {
        match text {
            "off" => Some(Validate::Off),
            "warn" => Some(Validate::Warn),
            "enforce" => Some(Validate::Enforce),
            other => {
                let what = format!("there is no way `{other}` to validate");
                self.flaw(at, what, "write `off`, `warn` or `enforce`");
                None
            }
        }
    }
}
