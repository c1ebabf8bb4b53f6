//! Where web apps come from, as browsers write it.

use std::{borrow::Borrow, collections::HashSet, str::FromStr};

use http::HeaderValue;

/// Origins of web apps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// All of them, `null` too.
    Any,
    /// These.
    These(HashSet<Origin>),
}

/// A scheme, a host, and a port that is not the scheme's own (RFC 6454 6.2); or `null`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(HeaderValue);

/// Text that no browser sends as an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no origin as browsers write it")]
pub struct InvalidOrigin {
    /// As it was given.
    pub text: String,
    /// What was probably meant.
    pub meant: Option<String>,
}

impl Origins {
    /// Whether this `Origin` is one of them: to the letter, as browsers spell an origin in one way only.
    pub(super) fn admit(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Any => true,
            Self::These(origins) => origins.contains(origin),
        }
    }
}

/// As an `Origin` header.
impl Borrow<HeaderValue> for Origin {
    fn borrow(&self) -> &HeaderValue {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    /// Fails for any other spelling than a browser's, which would never be met, and tells the right one if it can be told.
    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let meant = canonical(text);
        match HeaderValue::from_str(text) {
            Ok(value) if text == "null" || meant.as_deref() == Some(text) => Ok(Self(value)),
            _ => Err(InvalidOrigin {
                text: text.to_owned(),
                meant,
            }),
        }
    }
}

/// The origin of what is at this URL. Other schemes than these two belong to apps in a web view, as in `capacitor://localhost`.
fn canonical(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    if scheme.is_empty() || !scheme.chars().all(is_name) {
        return None;
    }
    let scheme = scheme.to_ascii_lowercase();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || !host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c)) {
        return None;
    }
    let host = match scheme.as_str() {
        "http" => host.strip_suffix(":80").unwrap_or(host).to_ascii_lowercase(),
        "https" => host.strip_suffix(":443").unwrap_or(host).to_ascii_lowercase(),
        _ => host.to_owned(),
    };
    Some(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_spelt_as_browsers_do() {
        for text in [
            "https://app.example",
            "http://localhost:3000",
            "http://[::1]:8080",
            "capacitor://localhost",
            "chrome-extension://abcDEF",
            "null",
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().0, text);
        }
        for (text, meant) in [
            ("https://App.example/", Some("https://app.example")),
            ("HTTPS://app.example:443", Some("https://app.example")),
            ("http://app.example:80/todos?x#y", Some("http://app.example")),
            ("app.example", None),
            ("https://", None),
            ("https://*.example", None),
            ("https://a@b", None),
            ("https://a, https://b", None),
            ("://a", None),
            ("", None),
        ] {
            let error = text.parse::<Origin>().unwrap_err();
            assert_eq!(error.meant.as_deref(), meant, "{text}");
        }
    }

    #[test]
    fn only_those_listed_are_admitted() {
        let listed = Origins::These(HashSet::from(["https://a".parse().unwrap()]));
        for (origin, admitted) in [
            ("https://a", true),
            ("https://a:1", false),
            ("http://a", false),
            ("null", false),
        ] {
            let origin = HeaderValue::from_static(origin);
            assert_eq!(listed.admit(&origin), admitted, "{origin:?}");
            assert!(Origins::Any.admit(&origin));
        }
    }
}
