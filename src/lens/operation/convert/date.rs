//! The same moment in another format. What tells no time is midnight, and what tells no zone is in UTC.

use jiff::{
    Timestamp,
    civil::DateTime,
    fmt::strtime::{self, BrokenDownTime},
    tz::TimeZone,
};
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde_json::value::RawValue;

use super::Mapping;
use crate::{
    lens::{file::Scope, nested, operation::side},
    schema::Direction,
};

/// From the old side's format to the new side's.
#[derive(Debug)]
pub struct Dates([Format; 2]);

#[derive(Debug)]
enum Format {
    /// RFC 3339 in UTC, as JavaScript's `toISOString` writes it.
    Iso,
    /// Since 1970, in units of so many nanoseconds.
    Since(i128),
    /// As `strftime` writes it, in UTC.
    Pattern(String),
}

const SECOND: i128 = 1_000_000_000;
const MILLISECOND: i128 = 1_000_000;

impl Dates {
    pub fn new(old: &str, new: &str, scope: &mut Scope) -> Option<Self> {
        let mut format = |at: &str, text: &str| {
            let format = Format::new(text);
            if format.is_none() {
                scope.flaw(
                    at,
                    format!("`{text}` is no format of dates"),
                    "write `iso`, `seconds`, `milliseconds`, or a pattern like `%d.%m.%Y`",
                );
            }
            format
        };
        let (old, new) = (format("date/old", old), format("date/new", new));
        Some(Self([old?, new?]))
    }
}

impl Format {
    fn new(text: &str) -> Option<Self> {
        match text {
            "iso" => Some(Format::Iso),
            "seconds" => Some(Format::Since(SECOND)),
            "milliseconds" => Some(Format::Since(MILLISECOND)),
            pattern if pattern.contains('%') => {
                let format = Format::Pattern(pattern.to_owned());
                // What cannot read its own writing is of no use on the way back.
                let written = format.write(Timestamp::UNIX_EPOCH)?;
                format.read(&written).map(|_| format)
            }
            _ => None,
        }
    }

    fn read(&self, value: &RawValue) -> Option<Timestamp> {
        match self {
            Format::Iso => {
                let text = nested::string(value)?;
                let zoned = text.parse::<Timestamp>();
                zoned.ok().or_else(|| in_utc(text.parse::<DateTime>().ok()?))
            }
            Format::Since(unit) => {
                let number = super::units::decimal(value.get())?;
                let nanoseconds = number.checked_mul(Decimal::try_from_i128_with_scale(*unit, 0).ok()?)?;
                Timestamp::from_nanosecond(nanoseconds.trunc().to_i128()?).ok()
            }
            Format::Pattern(pattern) => {
                let time = BrokenDownTime::parse(pattern, nested::string(value)?).ok()?;
                let civil = || {
                    let date = time.to_date().ok()?;
                    let clock = time.to_time().unwrap_or_default();
                    in_utc(date.to_datetime(clock))
                };
                time.to_timestamp().ok().or_else(civil)
            }
        }
    }

    fn write(&self, moment: Timestamp) -> Option<Box<RawValue>> {
        match self {
            Format::Iso => {
                let fraction = match moment.subsec_nanosecond() {
                    part if part % 1_000_000 == 0 => 3,
                    part if part % 1_000 == 0 => 6,
                    _ => 9,
                };
                Some(nested::string_of(&format!("{moment:.fraction$}")))
            }
            Format::Since(unit) => {
                let whole = moment.as_nanosecond().div_euclid(*unit);
                RawValue::from_string(whole.to_string()).ok()
            }
            Format::Pattern(pattern) => {
                let text = strtime::format(pattern, &moment.to_zoned(TimeZone::UTC)).ok()?;
                Some(nested::string_of(&text))
            }
        }
    }
}

fn in_utc(time: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(time).ok()
}

impl Mapping for Dates {
    /// `null` is `null`.
    fn map(&self, to: Direction, value: &RawValue) -> Option<Box<RawValue>> {
        if value.get() == "null" {
            return Some(value.to_owned());
        }
        let moment = self.0[side(to.reverse())].read(value)?;
        self.0[side(to)].write(moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(old: &str, new: &str, value: &str) -> Option<String> {
        let dates = Dates([Format::new(old).unwrap(), Format::new(new).unwrap()]);
        let value = RawValue::from_string(value.to_owned()).unwrap();
        dates.map(Direction::Up, &value).map(|value| value.get().to_owned())
    }

    #[test]
    fn reads_and_writes_every_format() {
        for (old, new, value, expected) in [
            ("iso", "milliseconds", r#""2026-03-01T12:00:00.5Z""#, "1772366400500"),
            ("iso", "seconds", r#""2026-03-01T13:00:00.999+01:00""#, "1772366400"),
            ("iso", "seconds", r#""2026-03-01""#, "1772323200"),
            ("seconds", "iso", "1772366400", r#""2026-03-01T12:00:00.000Z""#),
            ("seconds", "iso", "-0.000001", r#""1969-12-31T23:59:59.999999Z""#),
            ("seconds", "milliseconds", "-1.5", "-1500"),
            ("seconds", "milliseconds", "1.7723664e+9", "1772366400000"),
            ("iso", "%d.%m.%Y", r#""2026-03-01T12:00:00Z""#, r#""01.03.2026""#),
            ("%d.%m.%Y", "iso", r#""01.03.2026""#, r#""2026-03-01T00:00:00.000Z""#),
            (
                "%Y-%m-%d %H:%M %z",
                "seconds",
                r#""2026-03-01 13:00 +0100""#,
                "1772366400",
            ),
            ("%Y-%m-%d %H:%M", "seconds", r#""2026-03-01 12:00""#, "1772366400"),
            ("iso", "seconds", "null", "null"),
        ] {
            assert_eq!(
                convert(old, new, value).as_deref(),
                Some(expected),
                "{old} {new} {value}"
            );
        }
    }

    #[test]
    fn what_is_no_date_has_no_value() {
        for (old, value) in [
            ("iso", r#""tomorrow""#),
            ("iso", "1"),
            ("iso", r#""2026-02-30""#),
            ("seconds", r#""1""#),
            ("seconds", "1e300"),
            ("seconds", "9999999999999999999999999999"),
            ("milliseconds", "-9223372036854775808"),
            ("%d.%m.%Y", r#""31.02.2026""#),
            ("%d.%m.%Y", "{}"),
        ] {
            assert_eq!(convert(old, "iso", value), None, "{old} {value}");
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_read_back_is_no_format() {
        for pattern in ["%Q%", "%H:%M", "%", "iso8601", "%Y"] {
            assert!(Format::new(pattern).is_none(), "{pattern}");
        }
    }
}
