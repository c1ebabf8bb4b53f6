//! How a version of an app comes to its end: deprecated, then past its sunset, or retired at once.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::Date, fmt::rfc2822, tz::TimeZone};
use serde::Deserialize;

use super::Manifest;

/// A point in time: `2027-03-01`, its beginning in UTC, or with a time of day as RFC 3339 writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Moment(Timestamp);

/// The text is no date.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no date: expected one like `2027-03-01`, or `2027-03-01T12:00:00Z`")]
pub struct InvalidMoment(pub String);

impl Moment {
    /// This very one.
    pub fn now() -> Self {
        Self(Timestamp::now())
    }

    /// As the `Deprecation` header writes it (RFC 9745 2.1, RFC 9651 3.3.7): `@1803859200`.
    pub fn structured(self) -> String {
        format!("@{}", self.0.as_second())
    }

    /// As the `Sunset` header writes it (RFC 8594 3, RFC 9110 5.6.7): `Mon, 01 Mar 2027 00:00:00 GMT`.
    pub fn http_date(self) -> String {
        let printer = rfc2822::DateTimePrinter::new();
        // It fails for years before 1 alone, which no manifest can name.
        printer.timestamp_to_rfc9110_string(&self.0).unwrap_or_default()
    }
}

impl FromStr for Moment {
    type Err = InvalidMoment;

    fn from_str(text: &str) -> Result<Self, InvalidMoment> {
        let invalid = |_| InvalidMoment(text.to_owned());
        // A date with a time of day would be taken for a date alone, its time ignored.
        if text.contains(['T', 't', ' ']) {
            return text.parse().map(Self).map_err(invalid);
        }
        let date: Date = text.parse().map_err(invalid)?;
        let midnight = date.to_zoned(TimeZone::UTC).map_err(invalid)?;
        Ok(Self(midnight.timestamp()))
    }
}

impl TryFrom<String> for Moment {
    type Error = InvalidMoment;

    fn try_from(text: String) -> Result<Self, InvalidMoment> {
        text.parse()
    }
}

/// The day, for people.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_zoned(TimeZone::UTC).date().fmt(f)
    }
}

impl Manifest {
    /// Whether clients are to be told of an end.
    pub fn ends(&self) -> bool {
        self.retired || self.deprecated.is_some() || self.sunset.is_some()
    }

    /// Whether it is past its end.
    pub fn is_retired(&self, now: Moment) -> bool {
        self.retired || self.sunset.is_some_and(|sunset| sunset <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_in_utc() {
        let day: Moment = "2027-03-01".parse().unwrap();
        assert_eq!(day, "2027-03-01T01:00:00+01:00".parse().unwrap());
        assert_eq!(day.structured(), "@1803859200");
        assert_eq!(day.http_date(), "Mon, 01 Mar 2027 00:00:00 GMT");
        assert_eq!(day.to_string(), "2027-03-01");
        for text in ["", "soon", "2027-02-30", "2027-03-01T12:00:00", "1.3.2027", "2027"] {
            assert_eq!(text.parse::<Moment>(), Err(InvalidMoment(text.into())), "{text}");
        }
    }

    #[test]
    fn a_sunset_is_the_end() {
        let manifest = |end: &str| -> Manifest {
            serde_json::from_str(&format!(
                r#"{{"name":"todo","version":"1.0.0","dependencies":{{}},{end}}}"#
            ))
            .unwrap()
        };
        let (before, on) = ("2027-02-28T23:59:59Z".parse().unwrap(), "2027-03-01".parse().unwrap());
        let sunset = manifest(r#""deprecated":"2026-01-01","sunset":"2027-03-01""#);
        assert!(sunset.ends() && !sunset.is_retired(before) && sunset.is_retired(on));
        let deprecated = manifest(r#""deprecated":"2026-01-01""#);
        assert!(deprecated.ends() && !deprecated.is_retired(on));
        assert!(manifest(r#""retired":true"#).is_retired(before));
        assert!(!manifest(r#""retired":false"#).ends());
    }
}
